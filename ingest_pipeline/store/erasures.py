"""Erasures that servers were asked for: kept until they are done, so that one whose process was killed is gone on with.

ask ──▶ renew … ──▶ settle        killed or stopped: claim_abandoned ──▶ renew … ──▶ settle
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Engine, delete, select, update

from ingest_pipeline.store.audit_log import Via
from ingest_pipeline.store.engine import reading, write
from ingest_pipeline.store.tables import ErasureRow
from ingest_pipeline.store.upsert import upsert

LEASE = timedelta(seconds=120)
"""How long an erasure is somebody's who says nothing."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Whose erasure, who asked for it, and how."""

    profile_id: str
    actor: str
    via: Via


def ask(engine: Engine, asked: Asked, now: datetime) -> None:
    """From now on somebody will see to it. Who asked first stays."""
    row = {
        "profile_id": asked.profile_id, "actor": asked.actor, "via": asked.via.value, "asked_at": now,
        "claimed_until": now + LEASE,
    }  # fmt: skip
    write(engine, lambda connection: upsert(connection, ErasureRow, [row], update=("claimed_until",)))


def renew(engine: Engine, profile_id: str, until: datetime) -> bool:
    """It is ours until then. False when it is done already: by another process, that took it up."""
    change = update(ErasureRow).where(ErasureRow.profile_id == profile_id).values(claimed_until=until)
    return write(engine, lambda connection: connection.execute(change).rowcount > 0)


def claim_abandoned(engine: Engine, now: datetime) -> list[Asked]:
    """Those that nobody is at work on any more; they are the caller's now."""
    e, is_free = ErasureRow, ErasureRow.claimed_until < now
    with reading(engine) as connection:  # most of the time there is none: no need to wait for a writer
        if connection.execute(select(e.profile_id).where(is_free).limit(1)).first() is None:
            return []
    take = update(e).where(is_free).values(claimed_until=now + LEASE).returning(e.profile_id, e.actor, e.via)
    rows = write(engine, lambda connection: list(connection.execute(take)))
    return [Asked(row.profile_id, row.actor, Via(row.via)) for row in rows]


def settle(engine: Engine, profile_id: str) -> None:
    """It is done."""
    gone = delete(ErasureRow).where(ErasureRow.profile_id == profile_id)
    write(engine, lambda connection: connection.execute(gone))
