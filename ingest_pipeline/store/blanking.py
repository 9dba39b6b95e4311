"""A person in what is stored about others: found by reading all of it once, blanked in place.

Everything here may be broken off and done again. What is stored meanwhile is screened by ``store.erased``.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Engine, Row, Select, bindparam, delete, func, null, select, update

from ingest_pipeline.documents import Json, content_hash
from ingest_pipeline.erased import BLANK, Erased, Traces, lowered, phone_spellings
from ingest_pipeline.llm.tables import LlmCacheRow, LlmCallRow
from ingest_pipeline.progress import Progress
from ingest_pipeline.remnants import Samples, readable, strings
from ingest_pipeline.store.documents import segment_from_json, segment_json
from ingest_pipeline.store.engine import reading, write
from ingest_pipeline.store.erasure import Subject, drop_calls, erase_answers
from ingest_pipeline.store.people import mark_changed
from ingest_pipeline.store.tables import (
    DocumentRow,
    EditRow,
    Evidence,
    FileRow,
    IdentifierRow,
    ObservationRow,
    PersonIdentifier,
    PersonRow,
    Profile,
    Rejection,
)
from ingest_pipeline.store.upsert import IN_LIST, batches, select_in

PAGE = 1_000


@dataclass(slots=True)
class Blanking:
    """Goes through what others have, with the marks of one person. ``changed``: rows by table; ``profiles``: whose.

    ``samples`` of the person's texts that others' texts hold as well are taken out.
    """

    engine: Engine
    subject: Subject
    erased: Erased
    samples: Samples
    progress: Progress
    changed: Counter[str] = field(default_factory=Counter)
    profiles: set[str] = field(default_factory=set)

    def run(self) -> None:
        self._calls()
        self._documents()
        self._observations()
        self._answers()
        self._columns(EditRow.id, EditRow.profile_id, ("target", "value"), EditRow)
        self._columns(Profile.id, Profile.id, ("summary",), Profile)
        self._columns(IdentifierRow.id, IdentifierRow.profile_id, ("value",), IdentifierRow)
        self._columns(Rejection.id, null(), ("position",), Rejection)
        self._columns(FileRow.id, null(), ("name",), FileRow)

    def _pages(self, stage: str, query: Select[Any], table: Any) -> Iterator[Sequence[Row[Any]]]:
        """The rows of a table in its own order, streamed: they may be many."""
        with reading(self.engine) as connection:
            total = connection.execute(select(func.count()).select_from(table)).scalar_one()
            self.progress.start(stage, total)
            for page in connection.execute(query.execution_options(yield_per=PAGE)).partitions():
                yield page
                self.progress.advance(len(page))

    def _documents(self) -> None:
        key = (PersonIdentifier.identifier_id == DocumentRow.identifier_id) & (PersonIdentifier.relation == "key")
        d = DocumentRow.__table__.c
        columns = (d.id, d.profile_id, d.identifier_id, *(d[name] for name in _BLANKED), PersonRow.namespace)
        query = select(*columns).outerjoin(PersonIdentifier, key)
        query = query.outerjoin(PersonRow, PersonRow.id == PersonIdentifier.person_id)
        for page in self._pages("looking at texts", query, DocumentRow):
            rows = [self._blanked_document(row) for row in page if not self.subject.owns(row)]
            changed = [row for row in rows if row]
            if changed:
                write(self.engine, partial(self._save_documents, rows=changed))
                self.changed["documents"] += len(changed)

    def _blanked_document(self, row: Row[Any]) -> dict[str, Any] | None:
        """What is to be stored instead; None when nothing is to be blanked."""
        before = tuple(map(segment_from_json, row.segments))
        text, segments = self.erased.blank_text(row.text, before, row.namespace)
        self.samples.discard(text)
        metadata = self.erased.blank_json(row.metadata)
        for string in strings(metadata):
            self.samples.discard(string)
        position = row.position and self.erased.blank(row.position)
        native_id = self.erased.blank(row.native_id)
        if (text, segments, metadata, position, native_id) == (
            row.text, before, row.metadata, row.position, row.native_id,
        ):  # fmt: skip
            return None
        return {
            "b_id": row.id, "text": text, "segments": [segment_json(s) for s in segments], "metadata": metadata,
            "position": position, "native_id": native_id, "content_hash": content_hash(text, segments),
        }  # fmt: skip

    def _save_documents(self, connection: Connection, rows: list[dict[str, Any]]) -> None:
        _update(DocumentRow.__table__, rows, connection)
        texts = {row["b_id"]: row["text"] for row in rows}
        o = ObservationRow
        query = select(o.id, o.document_id, o.quote, o.start_char, o.end_char)
        found = select_in(connection, query, o.document_id, texts)
        self._drop(connection, [r.id for r in found if texts[r.document_id][r.start_char : r.end_char] != r.quote])
        owners = select_in(connection, select(DocumentRow.profile_id).distinct(), DocumentRow.id, texts)
        erase_answers(connection, list(texts), {row.profile_id for row in owners if row.profile_id})

    def _drop(self, connection: Connection, observations: Sequence[str]) -> None:
        """Delete observations with their evidence; their profiles are to be folded again."""
        for batch in batches(sorted(observations), IN_LIST):
            owner = select(DocumentRow.profile_id).join(ObservationRow, ObservationRow.document_id == DocumentRow.id)
            holder = select(Evidence.profile_id).where(Evidence.observation_id.in_(batch))
            mine = {*connection.execute(owner.where(ObservationRow.id.in_(batch))).scalars()}
            mine |= {*connection.execute(holder).scalars()}
            connection.execute(delete(Evidence).where(Evidence.observation_id.in_(batch)))
            connection.execute(delete(ObservationRow).where(ObservationRow.id.in_(batch)))
            self._mark(connection, mine)
        self.changed["observations"] += len(observations)

    def _mark(self, connection: Connection, profiles: set[str | None]) -> None:
        living = {profile for profile in profiles if profile and profile not in self.subject.profiles}
        mark_changed(connection, living)
        self.profiles |= living

    def _observations(self) -> None:
        """Those whose value says more than the quote: a sentence that names the person."""
        o = ObservationRow
        query = select(o.id, o.value, o.stated, DocumentRow.profile_id, DocumentRow.identifier_id)
        query = query.join(DocumentRow, DocumentRow.id == o.document_id)
        for page in self._pages("looking at observations", query, ObservationRow):
            found = [row.id for row in page if not self.subject.owns(row) and self._holds((row.value, row.stated))]
            if found:
                write(self.engine, partial(self._drop, observations=found))

    def _holds(self, values: Sequence[Json]) -> bool:
        """Whether the person occurs in one of these JSON values."""
        texts = [readable(text) for value in values for text in strings(value)]
        for text in texts:
            self.samples.discard(text)
        return any(self.erased.spans(text) for text in texts)

    def _answers(self) -> None:
        """Answers about others that name the person; those about changed texts went with these."""
        query = select(LlmCacheRow.key, LlmCacheRow.profile_id, LlmCacheRow.answer)
        for page in self._pages("looking at answers", query.where(LlmCacheRow.answer.is_not(None)), LlmCacheRow):
            others = [row for row in page if row.profile_id not in self.subject.profiles]
            found = [row.key for row in others if self._holds([row.answer])]
            if found:
                write(self.engine, partial(_drop_answers, found))
                self.changed["llm_cache"] += len(found)

    def _calls(self) -> None:
        """Answers about several documents, asked for another profile that one of the person's documents was in then."""
        query = select(LlmCallRow.id, LlmCallRow.request_key, LlmCallRow.document_ids)
        for page in self._pages("looking at calls", query.where(LlmCallRow.document_ids.is_not(null())), LlmCallRow):
            asked = {document for row in page for document in row.document_ids}
            mine = select(DocumentRow.id).where(self.subject.documents)
            with reading(self.engine) as connection:
                owned = {row.id for row in select_in(connection, mine, DocumentRow.id, asked)}
            found = [row for row in page if owned.intersection(row.document_ids)]
            if found:
                write(self.engine, partial(drop_calls, calls=found))

    def _columns(self, key: Any, owner: Any, names: Sequence[str], table: Any) -> None:
        """Blank in columns of text or JSON of rows that are not the person's."""
        columns, unique = table.__table__.c, table in (IdentifierRow, FileRow)
        query = select(key.label("b_id"), owner.label("owner"), *(columns[name] for name in names))
        for page in self._pages(f"looking at {table.__tablename__}", query, table):
            changed = [self._blanked_row(row, names, unique) for row in page if row.owner not in self.subject.profiles]
            rows = [row for row in changed if row]
            if rows:
                write(self.engine, partial(_update, table.__table__, rows))
                self.changed[table.__tablename__] += len(rows)
                if table is EditRow:
                    owners = {row.owner for row in page}
                    write(self.engine, partial(self._mark, profiles=owners))

    def _blanked_row(self, row: Row[Any], names: Sequence[str], unique: bool) -> dict[str, Any] | None:
        """What is to be stored instead. ``unique``: two values must not become the same, so the id is put behind."""
        before = {name: getattr(row, name) for name in names}
        for text in strings(list(before.values())):
            self.samples.discard(text)
        after = {name: self._blanked_value(name, value) for name, value in before.items()}
        if after == before:
            return None
        if unique:
            after = {name: f"{value} ~{row.b_id[:8]}" for name, value in after.items()}
        return after | {"b_id": row.b_id}

    def _blanked_value(self, name: str, value: Json) -> Json:
        return self.erased.blank_path(value) if name == "name" else self.erased.blank_json(value)


_BLANKED = ("text", "segments", "metadata", "position", "native_id")


def _drop_answers(keys: Sequence[str], connection: Connection) -> None:
    connection.execute(delete(LlmCacheRow).where(LlmCacheRow.key.in_(keys)))


def _update(table: Any, rows: Sequence[dict[str, Any]], connection: Connection) -> None:
    """Set the columns that the rows name, by ``b_id``."""
    mine = update(table).where(table.c.id == bindparam("b_id"))
    values: dict[str, Any] = {name: bindparam(name) for name in rows[0] if name != "b_id"}
    connection.execute(mine.values(values), sorted(rows, key=itemgetter("b_id")))


def blank_own_files(engine: Engine, subject: Subject) -> int:
    """Blank the person in the names of files that hold nothing but their documents, and drop what was rejected there.

    There even a first name tells who it is, as in ``WhatsApp Chat with Ana.txt``. Returns how many names changed.
    """
    pattern = _file_pattern(subject.traces)
    theirs = (DocumentRow.profile_id.is_(None) | DocumentRow.profile_id.not_in(subject.profiles)) & (
        DocumentRow.identifier_id.is_(None) | DocumentRow.identifier_id.not_in(subject.identifiers)
    )
    files = select(DocumentRow.file_id).distinct().where(subject.documents, DocumentRow.file_id.is_not(None))

    def save(connection: Connection, batch: Sequence[str | None]) -> int:
        others = select(DocumentRow.file_id).distinct().where(DocumentRow.file_id.in_(batch), theirs)
        alone = set(batch) - set(connection.execute(others).scalars())
        names = select_in(connection, select(FileRow.id, FileRow.name), FileRow.id, alone)
        changed = [{"b_id": i, "name": new} for i, old in names if (new := _own_name(old, i, pattern)) != old]
        if changed:
            _update(FileRow.__table__, changed, connection)
        connection.execute(delete(Rejection).where(Rejection.file_id.in_(alone)))
        return len(changed)

    with reading(engine) as connection:
        found = connection.execute(files.execution_options(yield_per=IN_LIST)).scalars()
        pages = batches(found, IN_LIST)
        return sum(write(engine, partial(save, batch=page)) for page in pages)


def _file_pattern(traces: Traces) -> re.Pattern[str]:
    words = {word for name in traces.names for word in re.findall(r"[^\W\d_]{3,}", name)}
    emails = [i.value for i in traces.identifiers if i.kind == "email"]
    words |= {part for email in emails for part in (email, email.partition("@")[0]) if len(part) > 2}
    phones = [digits for i in traces.identifiers if i.kind == "phone" for digits in phone_spellings(i.value)]
    patterns = [
        rf"(?<![^\W\d_]){re.escape(lowered(word))}(?![^\W\d_])" for word in sorted(words, key=len, reverse=True)
    ]
    patterns += [r"\D{0,3}".join(digits) for digits in sorted(phones, key=len, reverse=True)]
    return re.compile("|".join(patterns) or r"(?!)")


def _own_name(name: str, file_id: str, pattern: re.Pattern[str]) -> str:
    folder, slash, rest = name.partition("/")
    low = lowered(rest)
    if not pattern.search(low):
        return name
    pieces = list(rest)
    for match in pattern.finditer(low):
        pieces[match.start() : match.end()] = BLANK * (match.end() - match.start())
    return f"{folder}{slash}{''.join(pieces)} ~{file_id[:8]}"
