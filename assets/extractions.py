"""``extractions``: what each profile's documents of one source say, computed by the extractor."""

from collections.abc import Iterator

import dagster as dg
from pydantic import Field

from assets import steps
from assets.checks import EXTRACTION_CHECKS, log_checks
from assets.config import parsed
from assets.partitions import extraction_partitions
from assets.source_assets import DIRECT, documents_asset
from ingest_pipeline.documents import Source
from ingest_pipeline.partitions import Partitioning
from ingest_pipeline.progress import Progress
from ingest_pipeline.sources.inbox import FOLDERS
from ingest_pipeline.store.extractions import Reextract, Selection
from resources.llm import LlmResource
from resources.store import StoreResource

_DESCRIPTION = """\
Observations, each one claim with the sentence that proves it, per profile and source.

A document is extracted once per model, prompt and trait schema. Materialising a partition again only does what is
missing or failed, and costs nothing when there is nothing; `reextract: stale` or `all` in the run's config does more.
The profile tables are folded from these observations: materialise them afterwards, or run `resync_profiles`."""


class ExtractionConfig(dg.Config):
    reextract: str = Field(
        default=Reextract.MISSING.value,
        description="missing: never done or failed; stale: also those of another model, prompt or schema; all.",
    )


def build_extractions(partitioning: Partitioning) -> dg.AssetsDefinition:
    spec = dg.AssetSpec(
        steps.EXTRACTIONS,
        description=_DESCRIPTION,
        group_name="extraction",
        partitions_def=extraction_partitions(partitioning),
        deps=[*(documents_asset(source) for source in FOLDERS), DIRECT],
        skippable=True,
        kinds={"llm", "table"},
    )

    @dg.multi_asset(
        name=steps.EXTRACTIONS,
        specs=[spec],
        backfill_policy=dg.BackfillPolicy.single_run(),
        retry_policy=steps.RETRY,
    )
    def extractions(
        context: dg.AssetExecutionContext,
        config: ExtractionConfig,
        store: StoreResource,
        llm: LlmResource,
        progress: dg.ResourceParam[Progress],
    ) -> Iterator[dg.MaterializeResult]:  # type: ignore[type-arg]
        bad = _extract_partitions(context, config, store, llm, partitioning, progress)
        log_checks(context, store, EXTRACTION_CHECKS)
        if bad:
            raise dg.Failure(
                description=f"{len(bad)} of {len(context.partition_keys)} partitions hold failed documents, the others "
                "are done; `ingest status` lists the reasons, `ingest retry` or the next run tries them again",
                metadata={"partitions": dg.MetadataValue.json(bad[:100])},
                allow_retries=False,
            )
        # The step records its partitions itself, one by one, and so emits nothing.
        return
        yield

    return extractions


def _extract_partitions(
    context: dg.AssetExecutionContext,
    config: ExtractionConfig,
    store: StoreResource,
    llm: LlmResource,
    partitioning: Partitioning,
    progress: Progress,
) -> list[str]:
    """Extract the run's partitions, source by source; returns the bad ones."""
    (reextract,) = parsed(Reextract, [config.reextract])
    wanted: dict[Source, set[str]] = {}
    for key in context.partition_keys:
        name, source = steps.split_key(str(key))
        wanted.setdefault(source, set()).add(name)
    bad: list[str] = []
    for source, names in sorted(wanted.items()):
        profiles = partitioning.load_profiles(store.engine, names)
        good, failed = set[str](), list[str]()
        if profiles:
            selection = Selection(llm.extractor.fingerprint, reextract, frozenset({source}), frozenset(profiles))
            good, failed = steps.extract(context, selection, store, llm, partitioning, progress)
        bad += failed
        silent = {f"{name}|{source.value}" for name in names} - good - set(failed)
        steps.record_extractions(context, store, partitioning, {key: [] for key in sorted(silent)})
    return bad
