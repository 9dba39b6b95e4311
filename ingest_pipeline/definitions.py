"""The composition root for Dagster: assets, jobs, schedule, checks and their resources."""

import logging

import dagster as dg

from assets.checks import build_checks
from assets.extractions import build_extractions
from assets.jobs import build_jobs, build_schedule
from assets.profile_tables import build_profile_tables
from assets.source_assets import DIRECT, build_source_assets
from ingest_pipeline.partitions import Partitioning
from ingest_pipeline.progress import LogProgress
from ingest_pipeline.settings import Settings, load_settings
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
        schedules=[build_schedule(jobs, settings.timezone)],
        resources={
            "store": store,
            "inbox": InboxResource(),
            "llm": LlmResource(store=store),
            "progress": log_progress,
        },
    )


defs = build_definitions(load_settings())
