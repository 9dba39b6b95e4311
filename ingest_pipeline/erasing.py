"""Erasing a person: what there is of them, what they said to and of others, and the proof that it is gone.

    marks ─▶ others' texts, in batches ─▶ fold those again ─▶ their own, in batches ─▶ the person ─▶ rewrite ─▶ proof

From the first step on nothing of the person is stored any more. Every step can be broken off: the profile goes last of
all, so that the same command finds it again and finishes.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection, Engine, func, select

from ingest_pipeline.documents import Identifier
from ingest_pipeline.erased import Erased, Traces
from ingest_pipeline.errors import ProfileNotFound
from ingest_pipeline.progress import Progress
from ingest_pipeline.remnants import Needles, Samples, strings
from ingest_pipeline.settings import Settings
from ingest_pipeline.store.audit_log import Audited, Via, append
from ingest_pipeline.store.blanking import Blanking, blank_own_files
from ingest_pipeline.store.engine import reading, write
from ingest_pipeline.store.erased import begin_erasure, was_erased
from ingest_pipeline.store.erasure import (
    Subject,
    count_subject,
    erase_pages,
    erase_subject,
    load_living_names,
    load_subject,
)
from ingest_pipeline.store.people import lock_identities
from ingest_pipeline.store.proving import Scanned, database_files, purge, scan_files, scan_tables
from ingest_pipeline.store.tables import DocumentRow

Refold = Callable[[Sequence[str]], Iterable[object]]
"""Folds profiles by id."""

_FOLD_PAGE = 500


@dataclass(frozen=True, slots=True)
class Preview:
    """What would go, in rows by table. ``namesakes``: other people with the same full name, whose texts keep it."""

    counts: Mapping[str, int]
    namesakes: int


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What was done, in rows by table, and the proof. Holds no values."""

    profile_id: str | None
    erased: Mapping[str, int] = field(default_factory=dict)
    blanked: Mapping[str, int] = field(default_factory=dict)
    files_renamed: int = 0
    namesakes: int = 0
    proof: tuple[Scanned, ...] = ()

    @property
    def clean(self) -> bool:
        return all(scanned.clean for scanned in self.proof)


def preview(engine: Engine, profile_id: str) -> Preview:
    """Look before erasing. Raises ProfileNotFound."""
    with reading(engine) as connection:
        subject = load_subject(connection, profile_id)
        counts = count_subject(connection, subject)
    return Preview({table: n for table, n in counts.items() if n}, _unshared(engine, subject)[1])


def forget(
    engine: Engine,
    profile_id: str,
    refold: Refold,
    actor: str,
    via: Via,
    progress: Progress,
    folders: Sequence[Path] = (),
) -> Forgotten:
    """Erase a person and prove it. ``folders`` are looked through beside the database.

    Raises ProfileNotFound, ConfigurationError for a wrong or missing key, StoreUnavailable when the database's files
    are held open; what was deleted by then stays deleted.
    """
    gone, remnants = erase(engine, profile_id, refold, actor, via, progress)
    return replace(gone, proof=prove(engine, remnants, progress, folders))


def searched_folders(settings: Settings) -> list[Path]:
    """What is looked through beside the database: the limiter's file, and Dagster's folder."""
    limits = [settings.home / f"limits.db{end}" for end in ("", "-wal")]
    return [*limits, Path(os.environ.get("DAGSTER_HOME") or settings.dagster_home).expanduser()]


@dataclass(frozen=True, slots=True)
class Remnants:
    """What is looked for when somebody is gone."""

    traces: Traces
    samples: Samples


def erase(
    engine: Engine, profile_id: str, refold: Refold, actor: str, via: Via, progress: Progress
) -> tuple[Forgotten, Remnants]:
    """All of ``forget`` but the proof."""
    with reading(engine) as connection:
        subject = load_subject(connection, profile_id)
    names, namesakes = _unshared(engine, subject)

    def begin(connection: Connection) -> tuple[Subject, Erased]:
        lock_identities(connection)
        current = load_subject(connection, profile_id)
        current = replace(current, traces=replace(current.traces, names=current.traces.names & names))
        return current, begin_erasure(connection, current.traces, current.profiles, datetime.now(UTC))

    def record(connection: Connection, gone: Mapping[str, int]) -> None:
        detail = {"erased": {k: n for k, n in gone.items() if n}, "blanked": dict(others.changed)}
        append(connection, actor, via, Audited.ERASE, subject.profiles[0], detail)
        for merged in subject.profiles[1:]:
            append(connection, actor, via, Audited.ERASE, merged, {"as_part_of": subject.profiles[0]})

    subject, marks = write(engine, begin)
    samples = _take_samples(engine, subject, progress)
    others = Blanking(engine, subject, marks, samples, progress)
    others.run()
    files = blank_own_files(engine, subject)
    _fold_again(refold, sorted(others.profiles), progress)
    gone = _erase_own(engine, subject, progress, record)
    return Forgotten(profile_id, gone, dict(others.changed), files, namesakes), Remnants(subject.traces, samples)


def prove(engine: Engine, remnants: Remnants, progress: Progress, folders: Sequence[Path] = ()) -> tuple[Scanned, ...]:
    """Write the database's files anew, then look through all of it for what was erased."""
    purge(engine)
    needles, samples = Needles.of(remnants.traces), remnants.samples
    database = database_files(engine.url.database if engine.dialect.name == "sqlite" else None)
    paths = [*database, *(folder for folder in folders if folder.exists())]
    return (*scan_tables(engine, needles, samples, progress), *scan_files(paths, needles, samples, progress))


def prove_again(engine: Engine, reference: str, progress: Progress, folders: Sequence[Path] = ()) -> Forgotten | None:
    """Finish what was broken off after the profile was gone; None when nobody erased has this identifier.

    What can be looked for then is the identifier alone.
    """
    with reading(engine) as connection:
        if not was_erased(connection, reference):
            return None
    kind, colon, value = reference.strip().partition(":")
    identifier = Identifier(kind, value) if colon else Identifier("email", reference.strip().lower())
    remnants = Remnants(Traces(identifiers=frozenset({identifier})), Samples())
    return Forgotten(None, proof=prove(engine, remnants, progress, folders))


def _unshared(engine: Engine, subject: Subject) -> tuple[frozenset[str], int]:
    """The full names that no other person has, alone or within a longer one, and how many people have one of them.

    Of two people with one name nobody can say whose it is in a text.
    """
    nobody = Erased(b"names", frozenset())
    names = {name: nobody.adding(Traces(names=frozenset({name})).marks()) for name in subject.traces.names}
    shared: set[str] = set()
    namesakes = 0
    for other, of_profile in load_living_names(engine, subject):
        same = {name for name, marks in names.items() if marks.spans(other)}
        namesakes += of_profile and bool(same)
        shared |= same
    return subject.traces.names - shared, namesakes


def _take_samples(engine: Engine, subject: Subject, progress: Progress) -> Samples:
    samples = Samples()
    with reading(engine) as connection:
        mine = select(func.count()).select_from(DocumentRow).where(subject.documents)
        progress.start("taking samples", connection.execute(mine).scalar_one())
        query = select(DocumentRow.text, DocumentRow.metadata_).where(subject.documents)
        for row in connection.execute(query.execution_options(yield_per=1_000)):
            for text in (row.text, *strings(row.metadata)):
                samples.take(text)
            progress.advance()
    return samples


def _fold_again(refold: Refold, profiles: Sequence[str], progress: Progress) -> None:
    """What was blanked must leave the others' profiles before the person goes."""
    progress.start("folding", len(profiles))
    for start in range(0, len(profiles), _FOLD_PAGE):
        page = profiles[start : start + _FOLD_PAGE]
        for _ in refold(page):
            pass
        progress.advance(len(page))


def _erase_own(
    engine: Engine, subject: Subject, progress: Progress, record: Callable[[Connection, Mapping[str, int]], None]
) -> dict[str, int]:
    gone: Counter[str] = Counter()
    progress.start("erasing", None)
    for documents in erase_pages(engine, subject, gone):
        progress.advance(documents)

    def last(connection: Connection) -> Counter[str]:
        everything = gone + erase_subject(connection, subject, datetime.now(UTC))
        if everything["profiles"]:
            record(connection, everything)
        return everything

    everything = write(engine, last)
    if not everything["profiles"]:  # another process erased the same person at the same time
        raise ProfileNotFound
    return dict(everything)
