"""What a re-extraction changed: each document's newest finished extraction beside the one before it."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, exists, select
from sqlalchemy.orm import aliased

from ingest_pipeline.documents import Json
from ingest_pipeline.edits import claim_key
from ingest_pipeline.extraction.base import Status
from ingest_pipeline.store.engine import reading
from ingest_pipeline.store.tables import DocumentRow, ExtractionRow, ObservationRow
from ingest_pipeline.store.upsert import select_in

PAGE = 1_000
"""Documents in memory at a time."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What an observation says. ``key`` is the trait key or memory type."""

    kind: str
    key: str
    value: Json
    retracted: bool

    def same_as(self) -> tuple[str, str, str, bool]:
        return (self.kind, self.key, claim_key(self.value), self.retracted)


@dataclass(frozen=True, slots=True)
class DocumentDifference:
    """One document's claims under two extractors. ``changed`` pairs what was said of one trait before and after."""

    document_id: str
    before: str
    after: str
    kept: tuple[Claim, ...] = ()
    added: tuple[Claim, ...] = ()
    removed: tuple[Claim, ...] = ()
    changed: tuple[tuple[Claim, Claim], ...] = ()

    @property
    def differs(self) -> bool:
        return bool(self.added or self.removed or self.changed)


@dataclass(frozen=True, slots=True)
class KeyDifference:
    """Claims of one trait or memory type over all documents compared."""

    kind: str
    key: str
    kept: int = 0
    added: int = 0
    removed: int = 0
    changed: int = 0


@dataclass(frozen=True, slots=True)
class Difference:
    """``extractors``: (fingerprint before, after) → documents."""

    documents: int
    differing: int
    extractors: dict[tuple[str, str], int]
    keys: tuple[KeyDifference, ...]


def load_difference(engine: Engine, profile_id: str | None = None) -> Difference:
    """The sum over all documents that two extractors finished, or over a profile's."""
    counts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    extractors: Counter[tuple[str, str]] = Counter()
    documents = differing = 0
    for one in load_document_differences(engine, profile_id):
        documents += 1
        differing += one.differs
        extractors[one.before, one.after] += 1
        for name, claims in (("kept", one.kept), ("added", one.added), ("removed", one.removed)):
            for claim in claims:
                counts[claim.kind, claim.key][name] += 1
        for _, claim in one.changed:
            counts[claim.kind, claim.key]["changed"] += 1
    # Traits before memories, as everywhere.
    ordered = sorted(counts.items(), key=lambda item: (item[0][0] != "trait", item[0]))
    keys = tuple(KeyDifference(kind, key, **count) for (kind, key), count in ordered)
    return Difference(documents, differing, dict(extractors), keys)


def load_document_differences(engine: Engine, profile_id: str | None = None) -> Iterator[DocumentDifference]:
    """Current documents that two extractors finished, by document id; a bounded number in memory at a time."""
    other = aliased(ExtractionRow)
    earlier = exists().where(
        other.document_id == DocumentRow.id,
        other.fingerprint != DocumentRow.fingerprint,
        other.status != Status.FAILED.value,
    )
    query = (
        select(DocumentRow.id, DocumentRow.fingerprint)
        .where(DocumentRow.superseded_at.is_(None), DocumentRow.state == "done", earlier)
        .order_by(DocumentRow.id)
        .limit(PAGE)
    )
    if profile_id is not None:
        query = query.where(DocumentRow.profile_id == profile_id)
    after = ""
    while True:
        with reading(engine) as connection:
            page = list(connection.execute(query.where(DocumentRow.id > after) if after else query))
            if not page:
                return
            found = _differences(connection, page)
        yield from found
        after = page[-1].id


def _differences(connection: Connection, page: Sequence[Any]) -> list[DocumentDifference]:
    current = {row.id: row.fingerprint for row in page}
    before = _previous(connection, current)
    claims = _claims(connection, current)
    return [_compare(i, before[i], current[i], claims[i, before[i]], claims[i, current[i]]) for i in current]


def _previous(connection: Connection, current: dict[str, str]) -> dict[str, str]:
    """The fingerprint that finished each document last before the current one did."""
    query = select(ExtractionRow.document_id, ExtractionRow.fingerprint, ExtractionRow.extracted_at).where(
        ExtractionRow.status != Status.FAILED.value
    )
    others: dict[str, list[Any]] = defaultdict(list)
    for row in select_in(connection, query, ExtractionRow.document_id, current):
        if row.fingerprint != current[row.document_id]:
            others[row.document_id].append(row)
    return {i: max(rows, key=lambda row: (row.extracted_at, row.fingerprint)).fingerprint for i, rows in others.items()}


def _claims(connection: Connection, documents: dict[str, str]) -> dict[tuple[str, str], list[Claim]]:
    """By document and fingerprint, in the order in which they were found."""
    o = ObservationRow
    query = select(o.document_id, o.fingerprint, o.position, o.kind, o.key, o.value, o.retracted)
    found: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for row in select_in(connection, query, o.document_id, documents):
        found[row.document_id, row.fingerprint].append(row)
    claims: dict[tuple[str, str], list[Claim]] = defaultdict(list)
    for key, rows in found.items():
        claims[key] = [Claim(r.kind, r.key, r.value, r.retracted) for r in sorted(rows, key=lambda r: r.position)]
    return claims


def _compare(
    document_id: str, before: str, after: str, old: Sequence[Claim], new: Sequence[Claim]
) -> DocumentDifference:
    old_by = {claim.same_as(): claim for claim in old}
    new_by = {claim.same_as(): claim for claim in new}
    removed = [claim for key, claim in old_by.items() if key not in new_by]
    added = [claim for key, claim in new_by.items() if key not in old_by]
    changed = []
    for claim in list(removed):
        successors = [other for other in added if other.key == claim.key]
        alone = sum(other.key == claim.key for other in removed) == 1
        # Several elements of an array trait have no order in which one follows another.
        if claim.kind == "trait" and alone and len(successors) == 1:
            removed.remove(claim)
            added.remove(successors[0])
            changed.append((claim, successors[0]))
    return DocumentDifference(
        document_id,
        before,
        after,
        kept=tuple(claim for key, claim in new_by.items() if key in old_by),
        added=tuple(added),
        removed=tuple(removed),
        changed=tuple(changed),
    )
