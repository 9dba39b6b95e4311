"""Extracting by the provider's batch API: ``batch_submit``, ``batch_collect`` and the sensor between them.

batch_submit     sync_op ──▶ submit_op ──▶ tables_op ──▶ verdict_op
batch_collect              collect_op ──▶ tables_op ──▶ verdict_op
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import dagster as dg
from pydantic import Field

from assets import steps
from assets.config import parsed
from assets.events import log_planned
from ingest_pipeline.batching import collect, is_due, open_batches, refresh, submit
from ingest_pipeline.documents import Source
from ingest_pipeline.extracting import KeyOutcome
from ingest_pipeline.extraction.batch import BatchExtractor, open_batch_extractor
from ingest_pipeline.partitions import Partitioning
from ingest_pipeline.store.extractions import Reextract, Selection
from ingest_pipeline.store.lookup import check_profiles
from resources.failures import reported
from resources.llm import LlmResource
from resources.store import StoreResource


class BatchConfig(dg.Config):
    profiles: list[str] = Field(default=[], description="Profile ids; none means all.")
    sources: list[str] = Field(default=[], description="crm, email, chat, direct; none means all.")
    reextract: str = Reextract.MISSING.value


@contextmanager
def _opened(store: StoreResource, llm: LlmResource) -> Iterator[BatchExtractor]:
    with reported():
        extractor = open_batch_extractor(llm.settings, store.trait_schema, store.engine)
        try:
            yield extractor
        finally:
            extractor.close()


def build_batch_jobs(
    partitioning: Partitioning, sync_op: dg.OpDefinition, tables_op: dg.OpDefinition, verdict_op: dg.OpDefinition
) -> list[dg.JobDefinition]:
    @dg.op(
        ins={"start": dg.In(dg.Nothing)},
        out=dg.Out(dg.Nothing),
        description="Hand the pending documents in at the provider's batch API.",
    )
    def submit_op(context: dg.OpExecutionContext, config: BatchConfig, store: StoreResource, llm: LlmResource) -> None:
        with _opened(store, llm) as extractor:
            check_profiles(store.engine, config.profiles)
            (reextract,) = parsed(Reextract, [config.reextract])
            sources = frozenset(parsed(Source, config.sources))
            profiles, attempts = frozenset(config.profiles), llm.settings.max_attempts
            selection = Selection(extractor.fingerprint, reextract, sources, profiles, attempts)
            made = submit(store.engine, extractor, selection, context.run.run_id)
        _record(context, store, partitioning, made.outcomes)
        context.log.info(
            f"{made.documents} documents in {made.requests} requests in {len(made.batches)} batches; "
            f"left for later: {dict(made.left) or 'none'}"
        )

    @dg.op(out=dg.Out(dg.Nothing), description="Settle the batches that ended: answers → observations.")
    def collect_op(context: dg.OpExecutionContext, store: StoreResource, llm: LlmResource) -> None:
        with _opened(store, llm) as extractor:
            _record(context, store, partitioning, collect(store.engine, extractor, context.run.run_id))

    @dg.job(description="Read what is new and hand in what is pending at the provider's batch API, for half the price.")
    def batch_submit() -> None:
        verdict_op(tables_op(submit_op(sync_op())))

    @dg.job(description="Collect the batches that ended and fold what changed.")
    def batch_collect() -> None:
        verdict_op(tables_op(collect_op()))

    return [batch_submit, batch_collect]


def _record(
    context: dg.OpExecutionContext, store: StoreResource, partitioning: Partitioning, outcomes: Iterable[KeyOutcome]
) -> None:
    groups = steps.by_partition(outcomes, partitioning)
    bad = {key for key, group in groups.items() if any(outcome.bad for outcome in group)}
    for key in bad:
        log_planned(context, steps.EXTRACTIONS, key)
    good = {key: group for key, group in groups.items() if key not in bad}
    steps.record_extractions(context, store, partitioning, good)


def build_batch_sensor(jobs: list[dg.JobDefinition]) -> dg.SensorDefinition:
    """Asks the provider every five minutes, off until someone switches it on."""

    def poll(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        store, llm = context.resources.store, context.resources.llm
        if not open_batches(store.engine):
            return dg.SkipReason("no batch is under way")
        with _opened(store, llm) as extractor:
            polled = refresh(extractor)
        if any(is_due(one) for one in polled):
            return dg.RunRequest()
        return dg.SkipReason(f"{len(polled)} batches are under way")

    # Not by the decorator, which warns of a parameter of its own that is in beta.
    return dg.SensorDefinition(
        name="batch_poll",
        evaluation_fn=poll,
        job=next(job for job in jobs if job.name == "batch_collect"),
        minimum_interval_seconds=300,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Collects batches once the provider has ended them.",
        required_resource_keys={"store", "llm"},
    )
