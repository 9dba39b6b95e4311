"""What identity resolution needs to know about some identifiers: everybody they are connected with."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, select

from ingest_pipeline.documents import Identifier, stable_id
from ingest_pipeline.identity import Claim, Decision
from ingest_pipeline.store.tables import EditRow, IdentifierRow, PersonIdentifier, PersonRow
from ingest_pipeline.store.upsert import select_in

SHAREABLE = frozenset({"email", "phone"})
"""Kinds of identifiers that several people may use."""

ANCHOR = "profile"
"""The kind of identifier that a profile without any gets to be merged by. Nobody is shown it."""

MANUAL = "manual:"
"""The namespace of a decision by hand: this and the id of its edit."""

MERGED, STAYS, LEAVES = "merged", "stays", "leaves"
"""What binds an identifier to a decision."""


def identifier_id(identifier: Identifier) -> str:
    return stable_id("identifier", identifier.kind, identifier.value)


@dataclass(frozen=True, slots=True)
class Merge:
    """A merge by hand. ``other`` is None where an identifier was given to the profile ``into``."""

    decision: Decision[str]
    into: str
    other: str | None


@dataclass(slots=True)
class Neighbourhood:
    """Connected persons and decisions. ``names``: (namespace, name) by the key of who has it."""

    identifiers: set[str] = field(default_factory=set)
    claims: dict[str, Claim[str]] = field(default_factory=dict)
    names: dict[str, tuple[str, str]] = field(default_factory=dict)
    merges: list[Merge] = field(default_factory=list)
    splits: list[Decision[str]] = field(default_factory=list)


def load_neighbourhood(connection: Connection, touched: Iterable[str]) -> Neighbourhood:
    """Everything connected with the touched identifiers: people share identifiers with people."""
    found = Neighbourhood()
    persons: set[str] = set()
    by_hand: dict[str, list[Row[Any]]] = {}
    frontier = set(touched)
    while frontier:
        found.identifiers |= frontier
        by_identifier = select(PersonIdentifier.person_id)
        column = PersonIdentifier.identifier_id
        new = {row.person_id for row in select_in(connection, by_identifier, column, frontier)} - persons
        persons |= new
        frontier = set()
        for person_id, rows in _load_persons(connection, new):
            frontier |= {row.identifier_id for row in rows} - found.identifiers
            if rows[0].namespace.startswith(MANUAL):
                by_hand[person_id] = rows
            else:
                _add_claim(found, person_id, rows)
    if by_hand:
        _add_decisions(connection, found, by_hand.values())
    return found


def _load_persons(connection: Connection, persons: set[str]) -> Iterator[tuple[str, list[Row[Any]]]]:
    query = select(
        PersonIdentifier.person_id, PersonIdentifier.identifier_id, PersonIdentifier.relation,
        PersonRow.namespace, PersonRow.name, PersonRow.described_at, IdentifierRow.kind,
    ).join(PersonRow, PersonRow.id == PersonIdentifier.person_id).join(
        IdentifierRow, IdentifierRow.id == PersonIdentifier.identifier_id
    )  # fmt: skip
    links = defaultdict(list)
    for row in select_in(connection, query, PersonIdentifier.person_id, persons):
        links[row.person_id].append(row)
    yield from links.items()


def _add_claim(found: Neighbourhood, person_id: str, rows: list[Row[Any]]) -> None:
    key = next(row.identifier_id for row in rows if row.relation == "key")
    found.claims[person_id] = Claim(
        key=key,
        namespace=rows[0].namespace,
        same_as=frozenset(row.identifier_id for row in rows if row.relation == "same_as"),
        shareable=frozenset(row.identifier_id for row in rows if row.kind in SHAREABLE),
        # A switchboard's number is on many cards.
        weak=frozenset(row.identifier_id for row in rows if row.kind == "phone"),
    )
    if rows[0].name:
        found.names[key] = (rows[0].namespace, rows[0].name)


def _add_decisions(connection: Connection, found: Neighbourhood, by_hand: Iterable[list[Row[Any]]]) -> None:
    parts: dict[str, dict[str, list[frozenset[str]]]] = defaultdict(lambda: defaultdict(list))
    times = {}
    for rows in by_hand:
        edit = rows[0].namespace.removeprefix(MANUAL)
        times[edit] = rows[0].described_at
        parts[edit][rows[0].relation].append(frozenset(row.identifier_id for row in rows))
    query = select(EditRow.id, EditRow.profile_id, EditRow.value)
    edits = {row.id: row for row in select_in(connection, query, EditRow.id, sorted(parts))}
    for edit, sides in sorted(parts.items(), key=lambda item: (times[item[0]], item[0])):
        order = (times[edit], edit)
        if MERGED in sides:
            if edit not in edits:  # of an erased profile; what is left of it was split from that before
                continue
            merge = Decision(order, tuple(sides[MERGED]))
            found.merges.append(Merge(merge, edits[edit].profile_id, edits[edit].value["other"]))
        else:
            found.splits.append(Decision(order, tuple(sides[STAYS]), frozenset[str]().union(*sides[LEAVES])))
