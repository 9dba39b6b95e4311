"""The profile tables: ``profiles``, ``traits``, ``memories``, ``lineage``, folded from observations."""

from collections.abc import Iterator

import dagster as dg

from assets import steps
from assets.partitions import profile_partitions
from ingest_pipeline.partitions import Partitioning
from ingest_pipeline.progress import Progress
from resources.store import StoreResource

_DESCRIPTIONS = {
    "profiles": "One person each, with the identifiers that point there.",
    "traits": "Typed attributes, current and past, each with its confidence.",
    "memories": "Sentences worth remembering: facts, preferences, events, context.",
    "lineage": "Trait or memory ↔ observation ↔ document: the sentence and the record that prove it.",
}


def build_profile_tables(partitioning: Partitioning) -> dg.AssetsDefinition:
    specs = [
        dg.AssetSpec(
            name,
            description=_DESCRIPTIONS[name],
            group_name="profiles",
            partitions_def=profile_partitions(partitioning),
            deps=["extractions"],
            skippable=True,
            kinds={"table"},
        )
        for name in steps.TABLES
    ]

    @dg.multi_asset(name="profile_tables", specs=specs, backfill_policy=dg.BackfillPolicy.single_run())
    def profile_tables(
        context: dg.AssetExecutionContext, store: StoreResource, progress: dg.ResourceParam[Progress]
    ) -> Iterator[dg.MaterializeResult]:  # type: ignore[type-arg]
        names = set(context.partition_keys)
        profiles = partitioning.load_profiles(store.engine, names)
        done = steps.fold(context, sorted(profiles), store, partitioning, progress)
        for asset in steps.TABLES:
            steps.nothing_to_do(context, asset, sorted(names - done))
        # The step records its partitions itself, one by one, and so emits nothing.
        return
        yield

    return profile_tables
