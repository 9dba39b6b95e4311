"""Which partition a profile belongs to: one of its own, or one of 1,024 buckets above some 30,000 profiles."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Engine, select

from ingest_pipeline.settings import PartitionBy
from ingest_pipeline.store.engine import reading
from ingest_pipeline.store.people import BUCKETS
from ingest_pipeline.store.tables import Profile
from ingest_pipeline.store.upsert import select_in

_LIVING = select(Profile.id, Profile.partition_key).where(Profile.merged_into.is_(None))


@dataclass(frozen=True, slots=True)
class Partitioning:
    """Maps profiles to partition names and back. Names are opaque: they stay in Dagster's event log for good."""

    by: PartitionBy

    @property
    def buckets(self) -> list[str]:
        """The names of all buckets; a name does not depend on the profiles there are."""
        return [f"bucket-{number:04d}" for number in range(BUCKETS)]

    def name(self, partition_key: str) -> str:
        """The partition of the profile with this key."""
        return partition_key if self.by is PartitionBy.PROFILE else f"bucket-{int(partition_key, 16) % BUCKETS:04d}"

    def load_profiles(self, engine: Engine, names: Iterable[str]) -> dict[str, str]:
        """Profile id → partition name, for the profiles in these partitions. Unknown names have none."""
        names = list(names)
        with reading(engine) as connection:
            if self.by is PartitionBy.PROFILE:
                found = select_in(connection, _LIVING, Profile.partition_key, names)
            else:
                found = select_in(connection, _LIVING, Profile.bucket, [int(name.rpartition("-")[2]) for name in names])
            return {row.id: self.name(row.partition_key) for row in found}


def load_partition_keys(engine: Engine) -> set[str]:
    """The partition keys of all living profiles."""
    with reading(engine) as connection:
        return set(connection.execute(select(Profile.partition_key).where(Profile.merged_into.is_(None))).scalars())
