"""The audit log: who read, changed, exported or erased what of a single profile, and when. Append-only.

Its rows outlive an erasure, so they hold ids and trait keys and no values, no quotes, no identifiers of a person. What
cannot be recorded does not happen: an append that fails fails the edit or the read that it is for.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from sqlalchemy import Connection, Engine, insert, or_, select
from sqlalchemy.exc import DBAPIError

from ingest_pipeline.documents import Json
from ingest_pipeline.errors import InvalidInput, ProfileNotFound, StoreUnavailable
from ingest_pipeline.store.engine import reading, write_row
from ingest_pipeline.store.lookup import ID_DIGITS, find_profile, id_range, storable
from ingest_pipeline.store.tables import AuditRow, Profile

MAX_ACTOR = 255
_APPEND = insert(AuditRow)


class Via(StrEnum):
    """The way in. ``JOB``: a run that an operator started in Dagster. ``VIEWER``: the pages of ``ingest serve``."""

    CLI = "cli"
    API = "api"
    JOB = "job"
    VIEWER = "viewer"


class Audited(StrEnum):
    """What is recorded. Reads of single profiles, then edits, then what happens to whole profiles."""

    SHOW = "show"
    WHY = "why"
    EDITS = "edits"
    DOCUMENT = "document"
    DIFF = "diff"
    SET = "set"
    CLEAR = "clear"
    CONFIRM = "confirm"
    REJECT = "reject"
    UNREJECT = "unreject"
    DELETE = "delete"
    REMEMBER = "remember"
    REVISE = "revise"
    MERGE = "merge"
    SPLIT = "split"
    EXPORT = "export"
    ERASE = "erase"


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One entry. ``detail`` holds no values: trait keys, kinds, counts."""

    id: str
    at: datetime
    actor: str
    via: str
    action: str
    profile_id: str | None
    detail: Mapping[str, Json]


def append(
    where: Engine | Connection,
    actor: str,
    via: Via,
    action: Audited,
    profile_id: str | None,
    detail: Mapping[str, Json] | None = None,
    at: datetime | None = None,
) -> None:
    """Record an action: with a connection in its transaction, with an engine in one of its own, which is one insert.

    ``profile_id`` is null where no single profile is meant, as in an export of all. Raises InvalidInput for an empty or
    overlong actor, and StoreUnavailable when the entry cannot be written; the caller shows nothing then.
    """
    row = {
        "id": str(uuid.uuid4()), "at": at or datetime.now(UTC), "actor": check_actor(actor), "via": via.value,
        "action": action.value, "profile_id": profile_id, "detail": dict(detail or {}),
    }  # fmt: skip
    if isinstance(where, Connection):
        where.execute(_APPEND, row)
        return
    try:
        write_row(where, _APPEND, row)
    except DBAPIError as error:
        reason = (str(error.orig).strip() or type(error.orig).__name__).splitlines()[0]
        raise StoreUnavailable(
            f"the audit log cannot be written ({reason}), and nothing is shown or done that is not recorded; "
            "see that the database can be written to, then run the command again"
        ) from None


def check_actor(actor: str) -> str:
    """The name without spaces around it. Raises InvalidInput (``invalid_actor``)."""
    name = actor.strip()
    if not 0 < len(name) <= MAX_ACTOR or not storable(name) or not name.isprintable():
        raise InvalidInput("invalid_actor", f"the name of who does this has 1 to {MAX_ACTOR} printable characters")
    return name


def load_audit_log(
    engine: Engine, profile_id: str | None = None, since: datetime | None = None, limit: int = 50
) -> list[AuditEntry]:
    """The newest entries first: all, or those of a profile and of those merged into it; ``since`` then."""
    query = select(AuditRow.__table__).order_by(AuditRow.at.desc(), AuditRow.id.desc()).limit(limit)
    if profile_id is not None:
        merged = select(Profile.id).where(Profile.merged_into == profile_id)
        query = query.where(or_(AuditRow.profile_id == profile_id, AuditRow.profile_id.in_(merged)))
    if since is not None:
        query = query.where(AuditRow.at >= since)
    with reading(engine) as connection:
        return [
            AuditEntry(row.id, row.at, row.actor, row.via, row.action, row.profile_id, row.detail)
            for row in connection.execute(query)
        ]


def find_audited(engine: Engine, reference: str) -> str:
    """The profile id for a reference as ``find_profile`` takes it; the full id of an erased profile stands for itself.

    Raises ProfileNotFound, InvalidInput.
    """
    try:
        return find_profile(engine, reference, by_start=True)
    except ProfileNotFound:
        bounds = id_range(reference, least=ID_DIGITS)
        if bounds is None:
            raise
        return bounds[0]
