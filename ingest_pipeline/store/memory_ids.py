"""The ids that a memory had: of every sentence in it, also those of a profile that was merged into this one."""

from collections.abc import Iterable

from sqlalchemy import Connection, select

from ingest_pipeline.memory_fold import memory_id
from ingest_pipeline.store.tables import Evidence, ObservationRow, Profile


def find_memories(connection: Connection, profile_id: str, starts: str) -> set[str]:
    """The memories of which a sentence has an id that starts so. One query, however many there are."""
    query = (
        select(Evidence.memory_id, ObservationRow.value)
        .join(ObservationRow, ObservationRow.id == Evidence.observation_id)
        .where(Evidence.profile_id == profile_id, Evidence.memory_id.is_not(None))
    )
    merged = select(Profile.id).where(Profile.merged_into == profile_id)
    owners = [profile_id, *connection.execute(merged).scalars()]
    return {row.memory_id for row in connection.execute(query) if _is_meant(owners, str(row.value), starts.lower())}


def _is_meant(owners: Iterable[str], sentence: str, starts: str) -> bool:
    return any(memory_id(owner, sentence).startswith(starts) for owner in owners)
