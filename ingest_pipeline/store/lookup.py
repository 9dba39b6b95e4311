"""Finding profiles: by id, external id or identifier, and by search."""

import re
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Row, Select, bindparam, func, select, tuple_
from sqlalchemy.orm import aliased

from ingest_pipeline.errors import InvalidInput, ProfileNotFound
from ingest_pipeline.store.engine import looking, reading
from ingest_pipeline.store.neighbourhood import ANCHOR
from ingest_pipeline.store.tables import DocumentRow, IdentifierRow, Memory, PersonIdentifier, Profile, TraitRow
from ingest_pipeline.store.upsert import select_in


@dataclass(frozen=True, slots=True)
class ProfileSummary:
    """A profile in a list. Counts are of current rows."""

    id: str
    external_id: str | None
    name: str | None
    identifiers: tuple[str, ...]
    documents: int
    traits: int
    memories: int
    summary: str | None
    summary_version: int
    summary_updated_at: datetime | None
    created_at: datetime
    updated_at: datetime


def find_profile(engine: Engine, reference: str, by_start: bool = False) -> str:
    """The profile id for an id, an external id or an identifier such as ``alex@acme.com`` or ``slack:T1/U1``.

    ``by_start``: the first characters of an id do; only for looking, since a customer number may be some, too. A merged
    profile resolves to the one it went into. Raises ProfileNotFound, or InvalidInput (``ambiguous_profile``) when
    several people claim the identifier.
    """
    reference = reference.strip()
    if not storable(reference):
        raise ProfileNotFound
    with looking(engine) as connection:
        for find in (find_by_id, _by_external_id, _by_identifier, *((_by_start_of_id,) if by_start else ())):
            profile_id: str | None = find(connection, reference)
            if profile_id:
                return profile_id
    raise ProfileNotFound


def written(kind: str, value: str) -> str:
    """An identifier as people write it, and as ``find_profile`` takes it."""
    return value if kind in ("email", "phone") else f"{kind}:{value}"


UNSTORABLE = "{} holds NUL or half a surrogate pair, which no database stores"
"""What is wrong with the field of that name, when its text is not ``storable``."""


def storable(text: str) -> bool:
    """Whether every database takes the text: PostgreSQL refuses NUL, both refuse half a surrogate pair."""
    return "\x00" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


_OF_ID = select(Profile.id, Profile.merged_into).where(Profile.id == bindparam("reference"))
_OF_EXTERNAL_ID = select(Profile.id, Profile.merged_into).where(Profile.external_id == bindparam("reference"))


def find_by_id(connection: Connection, reference: str) -> str | None:
    """The profile with this id, or the one that it was merged into."""
    try:
        profile_id = str(uuid.UUID(reference))
    except ValueError:
        return None
    return _living(connection, _OF_ID, profile_id)


def _by_external_id(connection: Connection, reference: str) -> str | None:
    return _living(connection, _OF_EXTERNAL_ID, reference)


def _living(connection: Connection, query: Select[Any], reference: str) -> str | None:
    row = connection.execute(query, {"reference": reference}).one_or_none()
    return str(row.merged_into or row.id) if row else None


def _by_identifier(connection: Connection, reference: str) -> str | None:
    for row in find_identifiers(connection, reference):
        if row.ambiguous:
            raise ambiguous_identifier()
        if row.profile_id:
            return str(row.profile_id)
    return None


def ambiguous_identifier() -> InvalidInput:
    return InvalidInput(
        "ambiguous_profile",
        "several people claim this identifier; use a profile id, `ingest profiles --ambiguous` lists them",
    )


def find_identifiers(connection: Connection, reference: str) -> list[Row[Any]]:
    """What an identifier that somebody wrote may mean, likeliest first: (id, kind, value, profile_id, ambiguous)."""
    if not storable(reference):
        return []
    pairs = spellings(reference)
    i = IdentifierRow
    query = select(i.id, i.kind, i.value, i.profile_id, i.ambiguous).where(tuple_(i.kind, i.value).in_(pairs))
    return sorted(connection.execute(query), key=lambda row: pairs.index((row.kind, row.value)))


def spellings(reference: str) -> list[tuple[str, str]]:
    """The identifiers (kind, value) that somebody may mean, likeliest first."""
    kind, _, value = reference.partition(":")
    pairs = [("email", reference.lower()), ("phone", _PUNCTUATION.sub("", reference))]
    pairs += [(kind.lower(), value.lower() if kind.lower() == "email" else value)] if value else []
    return [*pairs, ("external", reference)]


_PUNCTUATION = re.compile(r"[\s().-]")
_MIN_START = 6

ID_DIGITS = 32
"""Of a whole id."""


def id_range(start: str, least: int) -> tuple[str, str] | None:
    """The first and last id that start so; None when these are not at least so many characters of an id."""
    digits = start.strip().lower().replace("-", "")
    if not re.fullmatch(rf"[0-9a-f]{{{least},32}}", digits):
        return None
    low, high = (str(uuid.UUID(digits.ljust(32, fill))) for fill in "0f")
    return low, high


def _by_start_of_id(connection: Connection, reference: str) -> str | None:
    bounds = id_range(reference, _MIN_START)
    if bounds is None:
        return None
    query = select(Profile.id, Profile.merged_into).where(Profile.id.between(*bounds)).limit(2)
    rows = list(connection.execute(query))
    if len(rows) > 1:
        raise InvalidInput("ambiguous_profile", "several profile ids start with these characters; write more of them")
    return str(rows[0].merged_into or rows[0].id) if rows else None


def check_profiles(engine: Engine, profile_ids: Sequence[str]) -> None:
    """Raise InvalidInput when one of the ids is no living profile: Dagster itself accepts any."""
    try:
        wanted = {str(uuid.UUID(i)) for i in profile_ids}
    except ValueError:
        raise InvalidInput(
            "invalid_profile", "profiles must be profile ids (UUIDs), as `ingest profiles` lists them"
        ) from None
    query = select(Profile.id).where(Profile.merged_into.is_(None))
    with reading(engine) as connection:
        found = {row.id for row in select_in(connection, query, Profile.id, wanted)}
    if wanted - found:
        raise InvalidInput(
            "profile_not_found",
            f"{len(wanted - found)} of {len(wanted)} profile ids are unknown or merged into another; "
            "`ingest profiles` lists the current ones",
        )


def list_profiles(
    engine: Engine, search: str = "", limit: int = 50, offset: int = 0
) -> tuple[list[ProfileSummary], int]:
    """A page of profiles by name, those without one last, and how many there are.

    ``search`` looks in names, those that were said and those of records, external ids and identifiers.
    """
    if not storable(search):  # what no database stores, SQLite takes for the end of the pattern
        return [], 0
    condition: list[ColumnElement[bool]] = [Profile.merged_into.is_(None)]
    if search.strip():
        condition.append(_matches(search.strip()))
    called = func.coalesce(Profile.told_name, Profile.display_name)
    order = (called.is_(None), func.lower(called), Profile.id)
    with reading(engine) as connection:
        total = connection.execute(select(func.count()).select_from(Profile).where(*condition)).scalar_one()
        rows = connection.execute(
            select(Profile.__table__).where(*condition).order_by(*order).limit(limit).offset(offset)
        )
        return _summaries(connection, list(rows)), total


def load_summaries(connection: Connection, profile_ids: Iterable[str]) -> dict[str, ProfileSummary]:
    """The profiles with these ids."""
    rows = list(select_in(connection, select(Profile.__table__), Profile.id, sorted(profile_ids)))
    return {summary.id: summary for summary in _summaries(connection, rows)}


def _summaries(connection: Connection, rows: Sequence[Row[Any]]) -> list[ProfileSummary]:
    ids = [row.id for row in rows]
    identifiers: dict[str, list[str]] = {i: [] for i in ids}
    shown = select(IdentifierRow.__table__).where(IdentifierRow.kind != ANCHOR)
    for row in select_in(connection, shown, IdentifierRow.profile_id, ids):
        identifiers[row.profile_id].append(written(row.kind, row.value))
    counts = {table: _counts(connection, table, ids) for table in (DocumentRow, TraitRow, Memory)}
    return [
        ProfileSummary(
            id=row.id,
            external_id=row.external_id,
            name=row.told_name or row.display_name,
            identifiers=tuple(sorted(identifiers[row.id], key=lambda i: ("@" not in i, i))),
            documents=counts[DocumentRow].get(row.id, 0),
            traits=counts[TraitRow].get(row.id, 0),
            memories=counts[Memory].get(row.id, 0),
            summary=row.summary,
            summary_version=row.summary_version,
            summary_updated_at=row.summary_updated_at,
            created_at=row.created_at,
            updated_at=row.updated_at,
        )
        for row in rows
    ]


def _matches(search: str) -> ColumnElement[bool]:
    """Profiles with this in their name, external id or an identifier, one that several people claim included."""
    claimed = claims_of_ambiguous().where(_contains(IdentifierRow.value, search)).subquery()
    by_identifier = select(IdentifierRow.profile_id).where(_contains(IdentifierRow.value, search))
    return (
        _contains(Profile.told_name, search)
        | _contains(Profile.display_name, search)
        | _contains(Profile.external_id, search)
        | Profile.id.in_(by_identifier)
        | Profile.id.in_(select(claimed.c.profile_id))
    )


def _contains(column: Any, search: str) -> ColumnElement[bool]:
    """Ignoring case. The databases' own ``lower`` may know ASCII only, so usual spellings are tried as well."""
    found = func.lower(column).contains(search.lower(), autoescape=True)
    for spelling in {search, search.title(), search.upper()} if not search.isascii() else ():
        found |= column.contains(spelling, autoescape=True)
    return found


def _counts(connection: Connection, table: Any, ids: Sequence[str]) -> dict[str, int]:
    query = select(table.profile_id, func.count().label("n")).group_by(table.profile_id)
    if table is DocumentRow:
        query = query.where(DocumentRow.superseded_at.is_(None))
    return {row.profile_id: row.n for row in select_in(connection, query, table.profile_id, ids)}


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """An identifier that several people of one system claim: it links nobody."""

    identifier: str
    profiles: tuple[str, ...]


def list_ambiguous(engine: Engine) -> list[Ambiguous]:
    """Ambiguous identifiers with the profiles of those who claim them."""
    found: dict[str, set[str]] = {}
    with reading(engine) as connection:
        for kind, value, profile_id in connection.execute(claims_of_ambiguous()):
            found.setdefault(f"{kind}:{value}", set()).add(profile_id)
    return [Ambiguous(identifier, tuple(sorted(profiles))) for identifier, profiles in sorted(found.items())]


def claims_of_ambiguous() -> Select[Any]:
    """(kind, value, profile_id) of those who claim an ambiguous identifier."""
    key = aliased(PersonIdentifier)
    owner = aliased(IdentifierRow)
    return (
        select(IdentifierRow.kind, IdentifierRow.value, owner.profile_id)
        .join(PersonIdentifier, PersonIdentifier.identifier_id == IdentifierRow.id)
        .join(key, (key.person_id == PersonIdentifier.person_id) & (key.relation == "key"))
        .join(owner, owner.id == key.identifier_id)
        .where(IdentifierRow.ambiguous, owner.profile_id.is_not(None))
        .distinct()
    )
