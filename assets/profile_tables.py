"""The profile tables: ``profiles``, ``traits``, ``memories``, ``lineage``, folded from observations."""

from collections.abc import Iterator

import dagster as dg

from assets import steps
from assets.checks import TABLE_CHECKS, log_checks
from assets.partitions import profile_partitions
from assets.source_assets import DIRECT, documents_asset
from ingest_pipeline.partitions import Partitioning
from ingest_pipeline.progress import Progress
from ingest_pipeline.sources.inbox import FOLDERS
from ingest_pipeline.store.tables import Memory, Profile, TraitRow
from resources.store import StoreResource

_DESCRIPTIONS = {
    "profiles": "One person each, with the identifiers that point there.",
    "traits": "Typed attributes with their confidence; former values are in the table `trait_history`.",
    "memories": "Sentences worth remembering: facts, preferences, events, context.",
    "lineage": "A view: trait or memory ↔ observation ↔ document, with the sentence and the record that prove it.",
}
_FOLDED = """

Folded from observations: a pure function, which asks no model and costs nothing. Materialising again changes nothing
unless observations did."""
_MODELS = {"profiles": Profile, "traits": TraitRow, "memories": Memory}


def _columns(name: str) -> dict[str, dg.TableSchema]:
    """The table's columns, for the asset's overview."""
    if name not in _MODELS:
        return {}
    columns = [dg.TableColumn(column.name, str(column.type).lower()) for column in _MODELS[name].__table__.columns]
    return {"dagster/column_schema": dg.TableSchema(columns)}


def build_profile_tables(partitioning: Partitioning) -> dg.AssetsDefinition:
    specs = [
        dg.AssetSpec(
            name,
            description=_DESCRIPTIONS[name] + _FOLDED,
            group_name="profiles",
            partitions_def=profile_partitions(partitioning),
            # Folded from observations, and each row leads to the documents: so the tables are below their sources, too.
            deps=[steps.EXTRACTIONS, *(documents_asset(source) for source in FOLDERS), DIRECT],
            skippable=True,
            kinds={"table"},
            metadata={"dagster/table_name": name, **_columns(name)},
        )
        for name in steps.TABLES
    ]

    @dg.multi_asset(
        name="profile_tables",
        specs=specs,
        backfill_policy=dg.BackfillPolicy.single_run(),
        retry_policy=steps.RETRY,
    )
    def profile_tables(
        context: dg.AssetExecutionContext, store: StoreResource, progress: dg.ResourceParam[Progress]
    ) -> Iterator[dg.MaterializeResult]:  # type: ignore[type-arg]
        names = set(context.partition_keys)
        profiles = partitioning.load_profiles(store.engine, names)
        done = steps.fold(context, sorted(profiles), store, partitioning, progress)
        steps.summarise(context, store, progress, sorted(profiles))
        for empty in sorted(names - done):
            steps.record_tables(context, empty, [])
        log_checks(context, store, TABLE_CHECKS)
        # The step records its partitions itself, one by one, and so emits nothing.
        return
        yield

    return profile_tables
