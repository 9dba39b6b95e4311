"""The table ``erased``: its marks are written when a person goes, and looked at by everything that stores texts.

An engine that ``watch_erased`` was called for knows where the key is. Without one, storing fails as soon as somebody
was erased: nobody comes back because a caller forgot about it.
"""

import hmac
import threading
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from msgspec import structs
from sqlalchemy import Connection, Engine, delete, func, select, update

from ingest_pipeline.documents import Identifier, Person, Record
from ingest_pipeline.erased import Erased, Mark, Traces, digest, identifier_mark, speaker_mark
from ingest_pipeline.erasure_key import ErasureKey
from ingest_pipeline.errors import ConfigurationError, InvalidInput
from ingest_pipeline.store.engine import write
from ingest_pipeline.store.erasure import erase_answers, erase_documents
from ingest_pipeline.store.people import identifier_id, lock_identities
from ingest_pipeline.store.tables import DocumentRow, ErasedRow, FileRow, IdentifierRow, StateRow
from ingest_pipeline.store.upsert import IN_LIST, batches, select_in, upsert

_OPTION = "erased"
_CHECK = "erasure_key"
_OTHER_KEY = (
    "people were erased from this database with another key than the one here; set INGEST_ERASURE_KEY to the content "
    "of erasure.key in the INGEST_HOME of the machine that erased first"
)


def watch_erased(engine: Engine, key: ErasureKey) -> None:
    """Let whatever stores with this engine leave out who was erased."""
    engine.update_execution_options(**{_OPTION: _Watch(key)})


@dataclass(slots=True)
class _Watch:
    """The marks as last loaded. They are loaded again when their version is another."""

    key: ErasureKey
    version: str | None = None
    erased: Erased | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


_MARKS = "erased"
"""The row of ``store_state`` that is another after every change of the marks, so that nobody counts them for each text
that is stored; none while there are no marks."""

_VERSION = select(StateRow.value).where(StateRow.name == _MARKS)


def load_erased(connection: Connection) -> Erased | None:
    """Who was erased; None when nobody was. Raises ConfigurationError when the key is missing or another one."""
    version = connection.execute(_VERSION).scalar()
    if version is None:
        return None
    watch = _watch(connection)
    with watch.lock:
        if watch.version != version or watch.erased is None:
            key = _checked_key(connection, watch.key.load())
            digests = connection.execute(select(ErasedRow.digest)).scalars()
            watch.erased, watch.version = Erased.of(key, map(bytes.fromhex, digests)), version
        return watch.erased


_STORING = 7_031_995
"""PostgreSQL's advisory lock: shared by who stores a text, alone for who marks a person as erased."""


def load_erased_to_store(connection: Connection) -> Erased | None:
    """As ``load_erased``, and so it stays until the transaction ends: an erasure waits for that, and finds what was
    stored here. Who holds ``lock_identities`` needs it not."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock_shared(_STORING)))
    return load_erased(connection)


def _watch(connection: Connection) -> _Watch:
    watch = connection.get_execution_options().get(_OPTION)
    if not isinstance(watch, _Watch):
        raise ConfigurationError("people were erased from this database; it is to be opened with their key")
    return watch


def _checked_key(connection: Connection, key: bytes | None) -> bytes:
    stored = connection.execute(select(StateRow.value).where(StateRow.name == _CHECK)).scalar()
    if key is None or stored != _fingerprint(key):
        raise ConfigurationError(_OTHER_KEY)
    return key


def _fingerprint(key: bytes) -> str:
    """Tells one key from another, and nothing of it."""
    return hmac.digest(key, b"ingest-pipeline erasure key", "sha256").hex()


def begin_erasure(connection: Connection, traces: Traces, profiles: Iterable[str], now: datetime) -> Erased:
    """Keep the marks of a person who goes: from now on nothing of them is stored. Returns their marks alone.

    A line of a file may name one of their ``profiles`` by its id, which is theirs nowhere else. The caller holds
    ``lock_identities``, so that whoever stores afterwards sees them.
    """
    watch = _watch(connection)
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_STORING)))
    known = connection.execute(select(StateRow.value).where(StateRow.name == _CHECK)).scalar()
    key = _checked_key(connection, watch.key.load()) if known else watch.key.make()
    upsert(connection, StateRow, [{"name": _CHECK, "value": _fingerprint(key)}])
    marks = traces.marks()
    identifying = {digest(key, mark).hex() for mark in marks if mark[0] in ("identifier", "external")}
    before = select_in(connection, select(ErasedRow.erasure_id), ErasedRow.digest, identifying)
    erasure_id = next((row.erasure_id for row in before), str(uuid.uuid4()))
    by_id: set[Mark] = {("external", profile) for profile in profiles}
    _save_marks(connection, key, {mark: erasure_id for mark in marks | by_id}, now)
    return Erased(key, frozenset()).adding(marks)


def _save_marks(connection: Connection, key: bytes, marks: dict[Mark, str], now: datetime) -> None:
    rows = [{"digest": digest(key, mark).hex(), "erasure_id": i, "erased_at": now} for mark, i in marks.items()]
    upsert(connection, ErasedRow, rows)
    _set_version(connection)


def _set_version(connection: Connection) -> None:
    upsert(connection, StateRow, [{"name": _MARKS, "value": uuid.uuid4().hex}], update=("value",))


def allow_return(engine: Engine, reference: str) -> int:
    """Forget that a person was erased, named by any identifier or external id; returns how many marks went.

    All files count as not read, since some hold what was left out. Raises InvalidInput when nobody erased has it.
    """

    def allow(connection: Connection) -> int:
        lock_identities(connection)
        if connection.execute(_VERSION).scalar() is not None:
            key = _checked_key(connection, _watch(connection).key.load())
            digests = {digest(key, mark).hex() for mark in reference_marks(reference)}
            found = {row.erasure_id for row in select_in(connection, select(ErasedRow), ErasedRow.digest, digests)}
            if found:
                gone = connection.execute(delete(ErasedRow).where(ErasedRow.erasure_id.in_(found))).rowcount
                connection.execute(update(FileRow).values(read_with=""))
                if connection.execute(select(ErasedRow.digest).limit(1)).first() is None:
                    connection.execute(delete(StateRow).where(StateRow.name == _MARKS))
                else:
                    _set_version(connection)
                return int(gone)
        raise InvalidInput("not_erased", "nobody with this identifier was erased, or their return is allowed already")

    return write(engine, allow)


def reference_marks(reference: str) -> set[Mark]:
    """What a reference such as ``alex@acme.com``, ``+49 151 …``, ``slack:T1/U1`` or an external id may stand for."""
    reference = reference.strip()
    kind, _, value = reference.partition(":")
    marks = {("external", reference), identifier_mark(Identifier("email", reference.lower()))}
    marks.add(identifier_mark(Identifier("phone", "".join(c for c in reference if c == "+" or c.isdigit()))))
    if value:
        marks.add(identifier_mark(Identifier(kind.lower(), value.lower() if kind.lower() == "email" else value)))
    return marks


def was_erased(connection: Connection, reference: str) -> bool:
    """Whether somebody erased has this identifier or external id."""
    erased = load_erased(connection)
    return erased is not None and any(erased.knows(mark) for mark in reference_marks(reference))


def check_not_erased(connection: Connection, reference: str) -> None:
    """Raise InvalidInput (``profile_erased``) when the external id or address is an erased person's."""
    if was_erased(connection, reference):
        raise InvalidInput(
            "profile_erased",
            "this person was erased; `ingest forget --allow-return` with the same identifier lets them come back",
            "externalId",
        )


@dataclass(frozen=True, slots=True)
class Screened:
    """Records as they may be stored. ``left_out``: the indices of those that were about erased people only.

    ``blank``: a text as it may be stored.
    """

    records: list[Record]
    left_out: frozenset[int]
    blank: Callable[[str], str]


def screen(connection: Connection, records: Sequence[Record], now: datetime) -> Screened | None:
    """The records without erased people, and with blanks where they occur in others'. None when nobody was erased.

    Who comes with an erased person's identifier is that person: their other native ids and addresses are marked too.
    The caller holds ``lock_identities``.
    """
    erased = load_erased(connection)
    if erased is None:
        return None
    erased = _learn(connection, erased, [p for r in records for p in r.subjects if p.claims], now)
    kept: list[Record] = []
    left_out: set[int] = set()
    for index, record in enumerate(records):
        subjects = tuple(person for person in record.subjects if not erased.is_erased(person))
        if not subjects and record.subjects:
            left_out.add(index)
        else:
            kept.append(erased.blank_record(structs.replace(record, subjects=subjects)))
    return Screened(kept, frozenset(left_out), erased.blank)


def drop_erased(connection: Connection, observations: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The rows of observations by id, without those of a text that was blanked while it was being extracted.

    The answers that these came from are dropped.
    """
    erased = load_erased(connection) if observations else None
    if erased is None:
        return observations
    wanted = {row["document_id"] for row in observations.values()}
    query = select(DocumentRow.id, DocumentRow.text)
    texts = {row.id: row.text for row in select_in(connection, query, DocumentRow.id, sorted(wanted))}

    def stands(row: dict[str, Any]) -> bool:
        said: bool = texts[row["document_id"]][row["start_char"] : row["end_char"]] == row["quote"]
        return said and erased.blank_json([row["value"], row["stated"]]) == [row["value"], row["stated"]]

    kept = {i: row for i, row in observations.items() if stands(row)}
    changed = sorted({row["document_id"] for i, row in observations.items() if i not in kept})
    owners = select_in(connection, select(DocumentRow.profile_id).distinct(), DocumentRow.id, changed)
    erase_answers(connection, changed, {row.profile_id for row in owners if row.profile_id})
    return kept


def _learn(connection: Connection, erased: Erased, people: Sequence[Person], now: datetime) -> Erased:
    """Mark what is new of erased people, unless a living profile has it; phones are left, which others may have too."""
    while True:
        new = dict(_unknown(erased, people))
        owned = _owned(connection, {i for traces in new for i in traces.identifiers})
        new = {traces: by for traces, by in new.items() if not traces.identifiers & owned}
        if not new:
            return erased
        sponsors = {by: digest(erased.key, identifier_mark(by)).hex() for by in new.values()}
        query = select(ErasedRow.digest, ErasedRow.erasure_id)
        found = {
            row.digest: row.erasure_id for row in select_in(connection, query, ErasedRow.digest, sponsors.values())
        }
        marks = {mark: found[sponsors[by]] for traces, by in new.items() for mark in traces.marks()}
        _save_marks(connection, erased.key, marks, now)
        _erase_unowned(connection, [i for traces in new for i in traces.identifiers])
        erased = erased.adding(marks)


def _unknown(erased: Erased, people: Iterable[Person]) -> Iterator[tuple[Traces, Identifier]]:
    """(identifier or speaker's name that is not marked, an identifier of the same person that is)."""
    for person in people:
        everything = (person.key, *person.same_as, *person.identifiers)
        marked = [i for i in everything if erased.knows(identifier_mark(i))]
        if not marked:
            continue
        for identifier in everything:
            if identifier.kind != "phone" and identifier not in marked:
                yield Traces(identifiers=frozenset({identifier})), marked[0]
        if person.name and not erased.knows(speaker_mark(person.namespace, person.name)):
            yield Traces(speakers=frozenset({(person.namespace, person.name)})), marked[0]


def _owned(connection: Connection, identifiers: Collection[Identifier]) -> set[Identifier]:
    """Those that point at a profile, or are several people's."""
    ids = {identifier_id(identifier): identifier for identifier in identifiers}
    query = select(IdentifierRow.id).where(IdentifierRow.profile_id.is_not(None) | IdentifierRow.ambiguous)
    return {ids[row.id] for row in select_in(connection, query, IdentifierRow.id, ids)}


def _erase_unowned(connection: Connection, identifiers: Collection[Identifier]) -> None:
    """What was stored under these identifiers while nobody knew whose they are."""
    for batch in batches(map(identifier_id, identifiers), IN_LIST):
        found = select(DocumentRow.id).where(DocumentRow.identifier_id.in_(batch))
        erase_documents(connection, list(connection.execute(found).scalars()))
        connection.execute(delete(IdentifierRow).where(IdentifierRow.id.in_(batch)))
