"""What is in the store but not in Dagster: texts ingested outside of any run, and what a killed run did not get to
record. Also makes a new DAGSTER_HOME show the store as it is."""

import dagster as dg

from assets import steps
from assets.events import Context
from ingest_pipeline.partitions import Partitioning
from ingest_pipeline.progress import Progress
from ingest_pipeline.store.counts import load_finished, load_folded
from ingest_pipeline.store.direct import adopt_unrecorded
from resources.store import StoreResource


def record_unrecorded(context: Context, store: StoreResource, partitioning: Partitioning, progress: Progress) -> None:
    """Record partitions that are done and that no run has recorded. Extracts nothing."""
    adopted = steps.by_partition(adopt_unrecorded(store.engine, context.run.run_id), partitioning)
    steps.record_extractions(context, store, partitioning, adopted)

    known = context.instance.get_materialized_partitions(dg.AssetKey(steps.EXTRACTIONS))
    states: dict[str, bool] = {}
    for key, source, finished in load_finished(store.engine):
        partition = f"{partitioning.name(key)}|{source.value}"
        states[partition] = states.get(partition, True) and finished
    lost = sorted(partition for partition, finished in states.items() if finished and partition not in known)
    steps.record_extractions(context, store, partitioning, {partition: [] for partition in lost})

    # Tables are recorded in this order: where the last one is, all are.
    known = context.instance.get_materialized_partitions(dg.AssetKey(steps.TABLES[-1]))
    unknown = [profile for profile, key in load_folded(store.engine) if partitioning.name(key) not in known]
    if unknown:
        steps.fold(context, unknown, store, partitioning, progress)
