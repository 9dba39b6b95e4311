"""Edits in the store: appended under a lock on their profile, read with those of the profiles merged into it."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import BindParameter, Connection, Engine, bindparam, func, insert, or_, select

from ingest_pipeline.documents import Json
from ingest_pipeline.edits import Action, Edit, Target
from ingest_pipeline.errors import ProfileNotFound
from ingest_pipeline.store.engine import reading
from ingest_pipeline.store.people import mark_changed
from ingest_pipeline.store.tables import EditRow, Profile

_TICK = timedelta(microseconds=1)
_THIS: BindParameter[str] = bindparam("profile_id")
_LOCKED = select(Profile.id, Profile.merged_into).where(Profile.id == _THIS).with_for_update()
_OF_THIS = or_(
    EditRow.profile_id == _THIS, EditRow.profile_id.in_(select(Profile.id).where(Profile.merged_into == _THIS))
)
_ALL = select(EditRow.__table__).where(_OF_THIS).order_by(EditRow.at.desc(), EditRow.id.desc())


@dataclass(frozen=True, slots=True)
class Draft:
    """An edit before it is recorded; fields as in ``Edit``."""

    action: Action
    kind: Target
    key: str
    target: str | None = None
    value: Json = None
    confidence: float | None = None


def hold_profile(connection: Connection, profile_id: str) -> str:
    """Lock the profile until the transaction ends; the id of the one it was merged into, if it was.

    Edits of one profile so follow one another. Raises ProfileNotFound.
    """
    for _ in range(3):  # while waiting for the lock it may have been merged, and that one as well
        row = connection.execute(_LOCKED, {"profile_id": profile_id}).one_or_none()
        if row is None:
            break
        if row.merged_into is None:
            return str(row.id)
        profile_id = row.merged_into
    raise ProfileNotFound


def save_edits(
    connection: Connection, profile_id: str, drafts: Sequence[Draft], actor: str, after: datetime | None = None
) -> list[Edit]:
    """Append edits of a profile that ``hold_profile`` holds, and mark it as changed.

    Each is later than every edit before it, and than ``after``, even where another machine's clock is ahead: the order
    of ``at`` is the order in which they were decided.
    """
    last = connection.execute(select(func.max(EditRow.at)).where(_OF_THIS), {"profile_id": profile_id}).scalar()
    start = max([datetime.now(UTC), *(before + _TICK for before in (last, after) if before)])
    edits = [
        Edit(
            id=str(uuid.uuid4()),
            at=start + n * _TICK,
            actor=actor,
            action=draft.action,
            kind=draft.kind,
            key=draft.key,
            target=draft.target,
            value=draft.value,
            confidence=draft.confidence,
        )
        for n, draft in enumerate(drafts)
    ]
    if edits:
        connection.execute(insert(EditRow), [_row(edit, profile_id) for edit in edits])
        mark_changed(connection, [profile_id])
    return edits


def load_edits(where: Engine | Connection, profile_id: str) -> list[Edit]:
    """Every edit of a profile and of those merged into it, newest first."""
    with reading(where) as connection:
        return [edit_of(row) for row in connection.execute(_ALL, {"profile_id": profile_id})]


def edit_of(row: Any) -> Edit:
    """A row of ``edits``, or one with its columns."""
    return Edit(
        id=row.id,
        at=row.at,
        actor=row.actor,
        action=Action(row.action),
        kind=Target(row.kind),
        key=row.key,
        target=row.target,
        value=row.value,
        confidence=row.confidence,
    )


def _row(edit: Edit, profile_id: str) -> dict[str, Any]:
    return {
        "id": edit.id, "profile_id": profile_id, "at": edit.at, "actor": edit.actor, "action": edit.action.value,
        "kind": edit.kind.value, "key": edit.key, "target": edit.target, "value": edit.value,
        "confidence": edit.confidence,
    }  # fmt: skip
