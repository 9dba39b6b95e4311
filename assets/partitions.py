"""Partitions: ``profile`` (dynamic, or static buckets) and ``source`` (static), and the two together."""

from collections.abc import Callable

import dagster as dg

from ingest_pipeline.documents import Source
from ingest_pipeline.partitions import Partitioning
from ingest_pipeline.settings import PartitionBy

PROFILES = "profile"
_CHUNK = 20_000

SOURCES = dg.StaticPartitionsDefinition([source.value for source in Source])


def profile_partitions(partitioning: Partitioning) -> dg.PartitionsDefinition:
    if partitioning.by is PartitionBy.BUCKET:
        return dg.StaticPartitionsDefinition(partitioning.buckets)
    return dg.DynamicPartitionsDefinition(name=PROFILES)


def extraction_partitions(partitioning: Partitioning) -> dg.MultiPartitionsDefinition:
    """Keys read ``profile|source``."""
    return dg.MultiPartitionsDefinition({"profile": profile_partitions(partitioning), "source": SOURCES})


def register_profiles(
    instance: dg.DagsterInstance, partitioning: Partitioning, load_keys: Callable[[], set[str]]
) -> int:
    """Let Dagster's keys be exactly the living profiles'; returns how many are new."""
    if partitioning.by is PartitionBy.BUCKET:
        return 0
    # In this order: a profile that another run adds in between is in the second set, and so not taken for gone.
    known = set(instance.get_dynamic_partitions(PROFILES))
    keys = load_keys()
    new = sorted(keys - known)
    for start in range(0, len(new), _CHUNK):
        instance.add_dynamic_partitions(PROFILES, new[start : start + _CHUNK])
    for gone in sorted(known - keys):
        instance.delete_dynamic_partition(PROFILES, gone)
    return len(new)
