"""How profiles come and go: rows of new ones, marks on changed ones, an end for empty ones."""

import secrets
from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import Connection, bindparam, delete, select, update

from ingest_pipeline.store.tables import (
    DocumentRow,
    EditRow,
    Evidence,
    IdentifierRow,
    Memory,
    Profile,
    TraitHistory,
    TraitRow,
)
from ingest_pipeline.store.upsert import IN_LIST, batches, select_in

BUCKETS = 1_024
"""Partitions when there are too many profiles for one each (INGEST_PARTITION_BY=bucket)."""


def new_profile(profile_id: str, name: str | None, now: datetime) -> dict[str, object]:
    """A row for ``profiles``. The partition key is random: it ends up in Dagster's event log for good."""
    key = secrets.token_hex(8)
    return {
        "id": profile_id, "partition_key": key, "bucket": int(key, 16) % BUCKETS,
        "display_name": name, "summary_version": 0, "changes": 1, "folded": 0, "created_at": now, "updated_at": now,
    }  # fmt: skip


_CHANGED = update(Profile).where(Profile.id.in_(bindparam("ids", expanding=True))).values(changes=Profile.changes + 1)


def mark_changed(connection: Connection, profile_ids: Iterable[str | None]) -> None:
    """The profiles' observations changed: they are to be folded again."""
    for batch in batches(sorted(p for p in profile_ids if p), IN_LIST):
        connection.execute(_CHANGED, {"ids": batch})


def delete_empty(connection: Connection, profiles: Iterable[str]) -> None:
    """Delete those of the profiles that nothing points at, with what was folded for them from texts now elsewhere."""
    for batch in batches(sorted(profiles), IN_LIST):
        # Locked first, so that nobody gives them a text or folds them meanwhile.
        own = Profile.external_id.is_(None) & Profile.merged_into.is_(None)
        held = select(Profile.id).where(Profile.id.in_(batch), own).with_for_update()
        empty = set(connection.execute(held).scalars())
        # What somebody decided about a profile is something of its own, too.
        for column in (
            DocumentRow.profile_id, IdentifierRow.profile_id, IdentifierRow.home_id, Profile.merged_into,
            Profile.retired_into, EditRow.profile_id,
        ):  # fmt: skip
            empty -= {row[0] for row in select_in(connection, select(column).distinct(), column, empty)}
        for table in (Evidence, TraitHistory, TraitRow, Memory):
            connection.execute(delete(table).where(table.profile_id.in_(empty)))
        connection.execute(delete(Profile).where(Profile.id.in_(empty)))
