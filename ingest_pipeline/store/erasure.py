"""What there is of one person, and how it goes: documents in batches, then the person in one transaction."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, delete, func, null, or_, select, update

from ingest_pipeline.documents import Identifier
from ingest_pipeline.erased import Traces
from ingest_pipeline.errors import ProfileNotFound
from ingest_pipeline.llm.tables import LlmBatchDocumentRow, LlmBatchItemRow, LlmCacheRow, LlmCallRow
from ingest_pipeline.store.engine import reading, write
from ingest_pipeline.store.neighbourhood import ANCHOR, MANUAL
from ingest_pipeline.store.people import lock_identities, mark_changed, reassign
from ingest_pipeline.store.tables import (
    DocumentRow,
    EditRow,
    Evidence,
    ExtractionRow,
    IdentifierRow,
    Memory,
    ObservationRow,
    PersonIdentifier,
    PersonRow,
    Profile,
    TraitHistory,
    TraitRow,
)
from ingest_pipeline.store.upload_tables import UploadLineRow
from ingest_pipeline.store.upsert import IN_LIST, batches, select_in

PAGE = 2_000
"""Documents per transaction: others wait no longer than that takes."""

_OF_A_PROFILE = (Evidence, TraitRow, TraitHistory, Memory, EditRow)


@dataclass(frozen=True, slots=True)
class Subject:
    """A person in the store: the profile, those merged into it, and what points at them. Ids, but for ``traces``."""

    profiles: tuple[str, ...]
    identifiers: tuple[str, ...]
    persons: tuple[str, ...]
    traces: Traces

    def owns(self, row: Any) -> bool:
        """Whether a row with ``profile_id`` and ``identifier_id`` is a document of theirs."""
        return row.profile_id in self.profiles or row.identifier_id in self.identifiers

    @property
    def documents(self) -> ColumnElement[bool]:
        """All versions of all their documents."""
        return or_(DocumentRow.profile_id.in_(self.profiles), DocumentRow.identifier_id.in_(self.identifiers))


def load_subject(connection: Connection, profile_id: str) -> Subject:
    """The person with this profile, or with the one that it was merged into. Raises ProfileNotFound."""
    living = connection.execute(select(Profile.merged_into).where(Profile.id == profile_id)).scalar()
    profiles = _with_merged(connection, living or profile_id)
    rows = list(connection.execute(select(Profile.display_name, Profile.external_id).where(Profile.id.in_(profiles))))
    if not rows:
        raise ProfileNotFound
    found = select(IdentifierRow.id, IdentifierRow.kind, IdentifierRow.value)
    identifiers = list(connection.execute(found.where(IdentifierRow.profile_id.in_(profiles))))
    keys = PersonIdentifier.identifier_id.in_([row.id for row in identifiers]) & (PersonIdentifier.relation == "key")
    described = select(PersonRow.id, PersonRow.namespace, PersonRow.name)
    persons = list(connection.execute(described.join(PersonIdentifier).where(keys)))
    named = [row for row in persons if row.name and not row.namespace.startswith(MANUAL)]
    return Subject(
        tuple(profiles),
        tuple(sorted(row.id for row in identifiers)),
        tuple(sorted(row.id for row in persons)),
        Traces(
            frozenset(Identifier(row.kind, row.value) for row in identifiers if row.kind != ANCHOR),
            frozenset({row.name for row in named} | {row.display_name for row in rows if row.display_name}),
            frozenset((row.namespace, row.name) for row in named),
            frozenset(row.external_id for row in rows if row.external_id),
        ),
    )


def _with_merged(connection: Connection, profile_id: str) -> list[str]:
    found, frontier = [profile_id], [profile_id]
    while frontier:
        frontier = list(connection.execute(select(Profile.id).where(Profile.merged_into.in_(frontier))).scalars())
        found += frontier
    return found


def count_subject(connection: Connection, subject: Subject) -> dict[str, int]:
    """What goes, in rows by table."""

    def count(table: Any, condition: ColumnElement[bool]) -> int:
        return int(connection.execute(select(func.count()).select_from(table).where(condition)).scalar_one())

    documents = select(DocumentRow.id).where(subject.documents)
    counts = {"profiles": len(subject.profiles), "identifiers": len(subject.identifiers)}
    counts["persons"] = len(subject.persons)
    counts["documents"] = count(DocumentRow, subject.documents)
    for table in (ObservationRow, ExtractionRow):
        counts[table.__tablename__] = count(table, table.document_id.in_(documents))
    for of_profile in (*_OF_A_PROFILE, LlmCacheRow):
        counts[of_profile.__tablename__] = count(of_profile, of_profile.profile_id.in_(subject.profiles))
    return counts


def erase_documents(connection: Connection, ids: Sequence[str]) -> Counter[str]:
    """Delete documents with all that hangs on them, and mark their profiles for folding; returns rows by table."""
    gone: Counter[str] = Counter()
    profiles = {
        row.profile_id
        for row in select_in(connection, select(DocumentRow.profile_id).distinct(), DocumentRow.id, ids)
        if row.profile_id
    }
    # Evidence may be another profile's: a document that moved is not in its new one's tables before the next fold.
    holders = select_in(connection, select(Evidence.profile_id).distinct(), Evidence.document_id, ids)
    profiles |= {row.profile_id for row in holders}
    gone.update(erase_answers(connection, ids, profiles))
    for batch in batches(sorted(ids), IN_LIST):
        for table in (Evidence, ObservationRow, ExtractionRow, LlmBatchDocumentRow, UploadLineRow):
            gone[table.__tablename__] += connection.execute(delete(table).where(table.document_id.in_(batch))).rowcount
        gone["documents"] += connection.execute(delete(DocumentRow).where(DocumentRow.id.in_(batch))).rowcount
    mark_changed(connection, profiles)
    return gone


def erase_answers(connection: Connection, ids: Sequence[str], profiles: Iterable[str]) -> Counter[str]:
    """Drop the answers to requests that asked about one of the documents, also to those about several."""
    wanted = set(ids)
    first = select(LlmCallRow.id, LlmCallRow.request_key, LlmCallRow.document_ids)
    calls = {row.id: row for row in select_in(connection, first, LlmCallRow.document_id, ids)}
    packs = first.where(LlmCallRow.document_ids.is_not(null()))
    for row in select_in(connection, packs, LlmCallRow.profile_id, profiles):
        if wanted.intersection(row.document_ids or ()):
            calls[row.id] = row
    return drop_calls(connection, calls.values())


def drop_calls(connection: Connection, calls: Iterable[Any]) -> Counter[str]:
    """Drop the calls' answers. Their accounts stay, and do not say whom they were about."""
    calls = list(calls)
    gone: Counter[str] = Counter()
    for batch in batches(sorted({call.request_key for call in calls}), IN_LIST):
        gone["llm_cache"] += connection.execute(delete(LlmCacheRow).where(LlmCacheRow.key.in_(batch))).rowcount
        connection.execute(delete(LlmBatchItemRow).where(LlmBatchItemRow.key.in_(batch)))
    _anonymise(connection, LlmCallRow.id, [call.id for call in calls])
    return gone


def _anonymise(connection: Connection, column: Any, values: Sequence[str]) -> None:
    nobody = {"profile_id": None, "document_id": None, "document_ids": null()}
    for batch in batches(sorted(values), IN_LIST):
        mine = column.in_(batch)
        connection.execute(update(LlmCallRow).where(mine).values(nobody))


def erase_pages(engine: Engine, subject: Subject, gone: Counter[str]) -> Iterator[int]:
    """Delete a person's documents, a page per transaction, as long as there are more than one; yields how many."""
    query = select(DocumentRow.id).where(subject.documents).limit(PAGE)
    while True:

        def erase(connection: Connection) -> Counter[str]:
            ids = list(connection.execute(query).scalars())
            return erase_documents(connection, ids) if len(ids) == PAGE else Counter()

        some = write(engine, erase)
        if not some["documents"]:
            return
        gone.update(some)
        yield some["documents"]


def erase_subject(connection: Connection, subject: Subject, now: datetime) -> Counter[str]:
    """Delete the person with what is left of them; returns rows by table.

    An identifier that others claim as well is theirs afterwards, as if the person had never been there.
    """
    _zero_what_goes(connection)
    lock_identities(connection)
    connection.execute(
        select(Profile.id).where(Profile.id.in_(subject.profiles)).order_by(Profile.id).with_for_update()
    )
    gone: Counter[str] = Counter()
    for batch in batches(list(connection.execute(select(DocumentRow.id).where(subject.documents)).scalars()), IN_LIST):
        gone.update(erase_documents(connection, batch))
    for table in (*_OF_A_PROFILE, LlmCacheRow, LlmBatchItemRow):
        mine = table.profile_id.in_(subject.profiles)
        gone[table.__tablename__] += connection.execute(delete(table).where(mine)).rowcount
    _anonymise(connection, LlmCallRow.profile_id, subject.profiles)
    connection.execute(update(Profile).where(Profile.retired_into.in_(subject.profiles)).values(retired_into=None))
    persons, shared = _erase_links(connection, subject)
    theirs: tuple[tuple[Any, Sequence[str]], ...] = (
        (PersonRow, persons),
        (IdentifierRow, subject.identifiers),
        (Profile, subject.profiles),
    )
    for row, ids in theirs:
        gone[row.__tablename__] += connection.execute(delete(row).where(row.id.in_(ids))).rowcount
    reassign(connection, shared, now)
    return gone


def _erase_links(connection: Connection, subject: Subject) -> tuple[list[str], set[str]]:
    """Take the person's identifiers from whoever has them; returns the persons that are left without any, decisions by
    hand included, and the identifiers of others that the person claimed as well."""
    links = PersonIdentifier.person_id.in_(subject.persons) | PersonIdentifier.identifier_id.in_(subject.identifiers)
    rows = list(connection.execute(select(PersonIdentifier.person_id, PersonIdentifier.identifier_id).where(links)))
    connection.execute(delete(PersonIdentifier).where(links))
    touched = {row.person_id for row in rows}
    left = select(PersonIdentifier.person_id).distinct()
    alive = {row.person_id for row in select_in(connection, left, PersonIdentifier.person_id, touched)}
    return sorted(touched - alive), {row.identifier_id for row in rows} - set(subject.identifiers)


def _zero_what_goes(connection: Connection) -> None:
    """SQLite otherwise leaves deleted rows in the file until something is written over them."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA secure_delete = ON")


def load_living_names(engine: Engine, subject: Subject) -> Iterator[tuple[str, bool]]:
    """The names of all other people, as a source has them or, True, as their profile does."""
    with reading(engine) as connection:
        for key, name, mine, of_profile in (
            (PersonRow.id, PersonRow.name, subject.persons, False),
            (Profile.id, Profile.display_name, subject.profiles, True),
        ):
            query = select(key, name).where(name.is_not(None)).execution_options(yield_per=10_000)
            yield from ((other, of_profile) for i, other in connection.execute(query) if i not in mine)
