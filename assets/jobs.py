"""Op jobs: ``nightly_sync``, ``resync_profiles``, ``ingest_text``, and the nightly schedule.

    nightly_sync       sync_op ──▶ extract_op ──▶ tables_op ──▶ verdict_op
    resync_profiles                extract_op ──▶ tables_op ──▶ verdict_op
    ingest_text               text_extract_op ──▶ tables_op ──▶ verdict_op
    forget_profile     forget_op

One run handles exactly the partitions that have work and records each by itself. What is done stands in the store,
so ops pass nothing on, and a retried step skips it.
"""

import uuid
from functools import partial

import dagster as dg
from pydantic import Field

from assets import steps
from assets.batches import build_batch_jobs
from assets.checks import EXTRACTION_CHECKS, TABLE_CHECKS, log_checks
from assets.config import parsed
from assets.events import log_planned
from assets.forgetting import build_forget_job
from assets.metadata import failure_table, source_metadata
from assets.source_assets import DIRECT, documents_asset
from assets.unrecorded import record_unrecorded
from ingest_pipeline.documents import Source
from ingest_pipeline.partitions import Partitioning
from ingest_pipeline.progress import Progress
from ingest_pipeline.settings import unknown_variables
from ingest_pipeline.sources import folder_options
from ingest_pipeline.sources.inbox import FOLDERS
from ingest_pipeline.store.audits import count_failed
from ingest_pipeline.store.counts import load_failed_in_run
from ingest_pipeline.store.direct import profile_of_document
from ingest_pipeline.store.extractions import Reextract, Selection
from ingest_pipeline.store.lookup import check_profiles
from ingest_pipeline.store.overview import load_overview, load_rejected_in
from ingest_pipeline.store.summaries import ask_again
from resources.failures import reported
from resources.inbox import InboxResource
from resources.llm import LlmResource
from resources.store import StoreResource

_NOTHING = {"start": dg.In(dg.Nothing)}


class SyncConfig(dg.Config):
    sources: list[str] = Field(
        default=[source.value for source in FOLDERS], description="Which folders of the inbox to read."
    )


class TargetConfig(dg.Config):
    profiles: list[str] = Field(
        default=[], description="Profile ids; none means all. Ids only: config is kept for good."
    )
    sources: list[str] = Field(default=[], description="crm, email, chat, direct; none means all.")
    reextract: str = Field(
        default=Reextract.MISSING.value,
        description="missing: never done or failed; stale: also those of another model, prompt or schema; all.",
    )
    given_up: bool = Field(
        default=False, description="Also documents that were refused INGEST_MAX_ATTEMPTS times, as `ingest retry` does."
    )


class TextConfig(dg.Config):
    document_id: str = Field(
        description="The id of a document that `ingest text --store-only` stored: source, metadata, traits and what is "
        "wanted of it are kept there. The text itself never goes into run config."
    )


def build_jobs(partitioning: Partitioning) -> list[dg.JobDefinition]:
    sync_op, extract_op, text_extract_op, tables_op, verdict_op = _build_ops(partitioning)

    # A process per step: the longest run, and the one nobody watches, survives a step that dies.
    @dg.job(
        description="Read what is new, extract what is pending, fold what changed.",
        executor_def=dg.multi_or_in_process_executor,
        tags={"ingest/job": "nightly_sync"},
    )
    def nightly_sync() -> None:
        verdict_op(tables_op(extract_op(sync_op())))

    @dg.job(description="Extract and fold chosen profiles and sources; reextract: missing, stale or all.")
    def resync_profiles() -> None:
        verdict_op(tables_op(extract_op()))

    @dg.job(description="Extract one stored text and fold its profile.")
    def ingest_text() -> None:
        verdict_op(tables_op(text_extract_op()))

    batch_jobs = build_batch_jobs(partitioning, sync_op, tables_op, verdict_op)
    return [nightly_sync, resync_profiles, ingest_text, *batch_jobs, build_forget_job(partitioning)]


def build_schedule(jobs: list[dg.JobDefinition], timezone: str) -> dg.ScheduleDefinition:
    """Nightly at 02:00, off until someone switches it on."""
    nightly = next(job for job in jobs if job.name == "nightly_sync")
    return dg.ScheduleDefinition(
        name="nightly",
        job=nightly,
        cron_schedule="0 2 * * *",
        execution_timezone=timezone,
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="Every night at 02:00. Runs touch only what changed.",
    )


def _build_ops(partitioning: Partitioning) -> list[dg.OpDefinition]:
    @dg.op(
        out=dg.Out(dg.Nothing),
        retry_policy=steps.RETRY,
        description="Read new and changed files; register profiles as partitions.",
    )
    def sync_op(
        context: dg.OpExecutionContext,
        config: SyncConfig,
        store: StoreResource,
        inbox: InboxResource,
        progress: dg.ResourceParam[Progress],
    ) -> None:
        for line in unknown_variables():
            context.log.warning(line)
        expired = steps.expire(store, progress)
        for source in parsed(Source, config.sources, FOLDERS):
            metadata = steps.read(context, source, store, inbox, partitioning, progress)
            metadata["documents_expired"] = dg.MetadataValue.int(expired.pop(source, 0))
            context.log_event(dg.AssetMaterialization(documents_asset(source), metadata=metadata))
        if any(expired.values()):
            context.add_output_metadata({f"documents_expired_{source}": n for source, n in expired.items()})

    @dg.op(
        ins=_NOTHING,
        out=dg.Out(dg.Nothing),
        retry_policy=steps.RETRY,
        description="The ingest extraction op: pending documents → observations.",
    )
    def extract_op(
        context: dg.OpExecutionContext,
        config: TargetConfig,
        store: StoreResource,
        llm: LlmResource,
        progress: dg.ResourceParam[Progress],
    ) -> None:
        with reported():
            check_profiles(store.engine, config.profiles)
        (reextract,) = parsed(Reextract, [config.reextract])
        sources = frozenset(parsed(Source, config.sources))
        try:
            attempts = None if config.given_up else llm.settings.max_attempts
            if config.given_up:
                ask_again(store.engine)
            selection = Selection(llm.extractor.fingerprint, reextract, sources, frozenset(config.profiles), attempts)
            _extract(context, selection, store, llm, partitioning, progress)
        except dg.Failure:
            # Stopped half-way (a spent budget, a refused key): the tables of what is done are built all the same.
            steps.fold(context, None, store, partitioning, progress)
            raise
        if not config.profiles:
            record_unrecorded(context, store, partitioning, progress)

    @dg.op(out=dg.Out(dg.Nothing), description="The ingest extraction op for one stored text.")
    def text_extract_op(
        context: dg.OpExecutionContext,
        config: TextConfig,
        store: StoreResource,
        llm: LlmResource,
        progress: dg.ResourceParam[Progress],
    ) -> None:
        with reported():
            profile, source = profile_of_document(store.engine, config.document_id)
        selection = Selection(
            llm.extractor.fingerprint,
            sources=frozenset({source}),
            profiles=frozenset({profile}),
            documents=frozenset({str(uuid.UUID(config.document_id))}),
        )
        _extract(context, selection, store, llm, partitioning, progress)

    @dg.op(
        ins=_NOTHING,
        out=dg.Out(dg.Nothing),
        retry_policy=steps.RETRY,
        description="Observations → profiles, traits, memories, lineage.",
    )
    def tables_op(context: dg.OpExecutionContext, store: StoreResource, progress: dg.ResourceParam[Progress]) -> None:
        steps.fold(context, None, store, partitioning, progress)
        steps.summarise(context, store, progress)

    @dg.op(
        ins=_NOTHING,
        description="Asset checks; fails the run when documents failed in it or a folder of the inbox was not read. "
        "Re-executed, it tries the documents again first.",
    )
    def verdict_op(
        context: dg.OpExecutionContext, store: StoreResource, llm: LlmResource, progress: dg.ResourceParam[Progress]
    ) -> None:
        if context.run.parent_run_id:
            _try_again(context, context.run.parent_run_id, store, llm, partitioning, progress)
        log_checks(context, store, (*EXTRACTION_CHECKS, *TABLE_CHECKS))
        overview = load_overview(store.engine, rejected_limit=0)
        context.log_event(dg.AssetObservation(DIRECT.key, metadata=source_metadata(overview, Source.DIRECT)))
        failed = count_failed(store.engine, context.run.run_id)
        problems = _unread_folders(context, store)
        if failed:
            problems.append(
                f"{sum(failed.values())} documents failed, everything else is done; "
                "`ingest status` lists the reasons, `ingest retry` or the next run tries them again"
            )
        if problems:
            metadata = {"reasons": failure_table(failed)} if failed else {}
            raise dg.Failure(description="; ".join(problems), metadata=metadata, allow_retries=False)

    return [sync_op, extract_op, text_extract_op, tables_op, verdict_op]


def _unread_folders(context: dg.OpExecutionContext, store: StoreResource) -> list[str]:
    """The inbox's folders that this run, or the one it re-executes, did not read, with the reason."""
    runs = [run for run in (context.run.run_id, context.run.parent_run_id) if run]
    names = [f"{source.value}/{folder_options.NAME}" for source in FOLDERS]
    return [f"{unit.file}: {unit.reason}" for unit in load_rejected_in(store.engine, names, runs)]


def _extract(
    context: dg.OpExecutionContext,
    selection: Selection,
    store: StoreResource,
    llm: LlmResource,
    partitioning: Partitioning,
    progress: Progress,
) -> None:
    """Extract, and let the partitions with failed documents show as failed once the run ends as failed."""
    planned = partial(log_planned, context, steps.EXTRACTIONS)
    steps.extract(context, selection, store, llm, partitioning, progress, on_bad=planned)


def _try_again(
    context: dg.OpExecutionContext,
    run_id: str,
    store: StoreResource,
    llm: LlmResource,
    partitioning: Partitioning,
    progress: Progress,
) -> None:
    """What failed in the run that this one re-executes. "From failure" repeats the failed step only, and that is
    ``verdict_op``, because a bad document must not hold up the tables of the others."""
    failed = load_failed_in_run(store.engine, run_id)
    for source, profiles in sorted(failed.items()):
        selection = Selection(llm.extractor.fingerprint, sources=frozenset({source}), profiles=frozenset(profiles))
        _extract(context, selection, store, llm, partitioning, progress)
    if failed:
        steps.fold(context, None, store, partitioning, progress)
