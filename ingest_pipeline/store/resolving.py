"""Finding many profiles at once, as ``lookup.find_profile`` finds one."""

import uuid
from collections.abc import Iterable

from sqlalchemy import Connection, select, tuple_

from ingest_pipeline.errors import InvalidInput, ProfileNotFound
from ingest_pipeline.store.lookup import ambiguous_identifier, spellings, storable
from ingest_pipeline.store.tables import IdentifierRow, Profile
from ingest_pipeline.store.upsert import batches, select_in

_PAIRS = 4_000
"""(kind, value) pairs per IN list: two bound parameters each."""


def find_profiles(connection: Connection, references: Iterable[str]) -> dict[str, str | InvalidInput]:
    """By reference the profile's id, or the error that ``find_profile`` would raise."""
    wanted = {reference: reference.strip() for reference in references if storable(reference)}
    found = _by_own_id(connection, set(wanted.values()))
    found |= _by_identifier(connection, {plain for plain in wanted.values() if plain not in found})
    missing = ProfileNotFound()
    return {reference: found.get(wanted.get(reference, ""), missing) for reference in references}


def _by_own_id(connection: Connection, references: set[str]) -> dict[str, str | InvalidInput]:
    keys = {reference: key for reference in references if (key := _uuid(reference))}
    living = select(Profile.id, Profile.external_id, Profile.merged_into)
    ids = {
        row.id: row.merged_into or row.id for row in select_in(connection, living, Profile.id, sorted(keys.values()))
    }
    found: dict[str, str | InvalidInput] = {
        row.external_id: row.merged_into or row.id
        for row in select_in(connection, living, Profile.external_id, sorted(references))
    }
    return found | {reference: ids[key] for reference, key in keys.items() if key in ids}


def _uuid(reference: str) -> str | None:
    try:
        return str(uuid.UUID(reference))
    except ValueError:
        return None


def _by_identifier(connection: Connection, references: set[str]) -> dict[str, str | InvalidInput]:
    written = {reference: spellings(reference) for reference in references}
    i = IdentifierRow
    query = select(i.kind, i.value, i.profile_id, i.ambiguous)
    known = {}
    for batch in batches(sorted({pair for pairs in written.values() for pair in pairs}), _PAIRS):
        for row in connection.execute(query.where(tuple_(i.kind, i.value).in_(batch))):
            known[row.kind, row.value] = row
    found: dict[str, str | InvalidInput] = {}
    for reference, pairs in written.items():
        for row in (known[pair] for pair in pairs if pair in known):
            if row.ambiguous or row.profile_id:
                found[reference] = ambiguous_identifier() if row.ambiguous else str(row.profile_id)
                break
    return found
