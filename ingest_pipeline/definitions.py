"""The composition root for Dagster: assets, jobs, schedule, checks and their resources."""

import logging
import uuid
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from typing import Any

import dagster as dg
from sqlalchemy import Engine

from assets.batches import build_batch_sensor
from assets.checks import build_checks
from assets.extractions import build_extractions
from assets.jobs import build_jobs, build_schedule
from assets.partitions import register_profiles
from assets.profile_tables import build_profile_tables
from assets.source_assets import DIRECT, build_source_assets
from ingest_pipeline.launch import RecordedRun, RunOutcome
from ingest_pipeline.partitions import Partitioning, load_partition_keys
from ingest_pipeline.progress import LogProgress, Progress
from ingest_pipeline.settings import PartitionBy, Settings, load_settings, warn_of_unknown_variables
from resources.inbox import InboxResource
from resources.llm import LlmResource
from resources.store import StoreResource


@dg.resource(description="Tells of progress in the run's log.")
def log_progress(context: dg.InitResourceContext) -> LogProgress:
    log = context.log or logging.getLogger(__name__)
    return LogProgress(log.info)


def build_definitions(settings: Settings) -> dg.Definitions:
    partitioning = Partitioning(settings.partition_by)
    store = StoreResource()
    jobs = build_jobs(partitioning)
    return dg.Definitions(
        assets=[
            *build_source_assets(partitioning),
            DIRECT,
            build_extractions(partitioning),
            build_profile_tables(partitioning),
        ],
        asset_checks=build_checks(),
        jobs=jobs,
        sensors=[build_batch_sensor(jobs)],
        schedules=[build_schedule(jobs, settings.timezone)],
        resources={
            "store": store,
            "inbox": InboxResource(),
            "llm": LlmResource(store=store),
            "progress": log_progress,
        },
        # A process per step costs 2 s each: too much for backfills, which may start many small runs.
        executor=dg.in_process_executor,
    )


# Dagster warns of a parameter that it gives to every sensor itself.
warnings.filterwarnings("ignore", "Parameter `owners` of initializer `SensorDefinition", dg.BetaWarning)

warn_of_unknown_variables()
defs = build_definitions(load_settings())


def run_job(
    name: str, run_config: dict[str, Any], progress: Progress, interrupted: Callable[[], None] = lambda: None
) -> RunOutcome:
    """Run a job in this process, recorded in the instance of DAGSTER_HOME like any other run.

    Raises KeyboardInterrupt on Ctrl-C, with the run recorded as canceled; its thread is still at work then, so the
    process is to end in ``interrupted``. What was stored is whole: everything is written in transactions.
    """
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    run_id = str(uuid.uuid4())
    with dg.DagsterInstance.get() as instance, ThreadPoolExecutor(1) as pool:
        # In the main thread Dagster would catch the interrupt itself, and the steps' retry policy would go on.
        running = pool.submit(
            defs.resolve_job_def(name).execute_in_process,
            run_config=run_config | quiet,
            instance=instance,
            raise_on_error=False,
            run_id=run_id,
            resources={"progress": progress},
        )
        try:
            return _outcome(running.result())
        except KeyboardInterrupt:
            run = instance.get_run_by_id(run_id)
            if run:
                instance.report_run_canceled(run)
            interrupted()
            raise


def load_runs(limit: int) -> list[RecordedRun]:
    """The latest runs of the instance of DAGSTER_HOME, the newest first."""
    with dg.DagsterInstance.get() as instance:
        return [
            RecordedRun(
                id=record.dagster_run.run_id,
                job=record.dagster_run.job_name,
                status=record.dagster_run.status.value.lower(),
                created_at=record.create_timestamp,
                started_at=datetime.fromtimestamp(record.start_time, UTC) if record.start_time else None,
                ended_at=datetime.fromtimestamp(record.end_time, UTC) if record.end_time else None,
            )
            for record in instance.get_run_records(limit=limit)
        ]


def remove_partitions(engine: Engine) -> None:
    """Leave the instance of DAGSTER_HOME no partition but those of living profiles."""
    with dg.DagsterInstance.get() as instance:
        register_profiles(instance, Partitioning(PartitionBy.PROFILE), partial(load_partition_keys, engine))


def _outcome(result: dg.ExecuteInProcessResult) -> RunOutcome:
    metadata = {
        event.asset_key.to_user_string(): {name: value.value for name, value in event.materialization.metadata.items()}
        for event in result.all_events
        if event.is_step_materialization and event.asset_key and not event.partition
    }
    for event in result.all_events:  # what a model wrote, if it was to
        if event.event_type is dg.DagsterEventType.ASSET_OBSERVATION and event.asset_key == dg.AssetKey("profiles"):
            seen = event.asset_observation_data.asset_observation.metadata
            metadata["profiles"] = {name: value.value for name, value in seen.items()}
    for event in result.all_events:
        if event.is_step_failure:
            planned = event.step_failure_data.user_failure_data
            error = event.step_failure_data.error
            while error and error.cause:  # a step's error is wrapped, and wrapped again after retries
                error = error.cause
            line = (
                planned.description if planned else next(iter(error.message.strip().splitlines()), "") if error else ""
            )
            return RunOutcome(result.run_id, False, line, event.step_key, crashed=planned is None, metadata=metadata)
    return RunOutcome(result.run_id, result.success, crashed=not result.success, metadata=metadata)
