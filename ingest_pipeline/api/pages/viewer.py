"""The pages put together: routes, errors as pages, and what they keep open."""

from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import FastAPI

from ingest_pipeline.api.pages import (
    calls,
    decisions,
    fact_page,
    forgetting,
    listing,
    problems,
    profile_page,
    signing_in,
    status_page,
    who_is_who,
)
from ingest_pipeline.api.pages.background import Retry
from ingest_pipeline.api.pages.runs import LastRuns
from ingest_pipeline.api.pages.sessions import Sessions
from ingest_pipeline.settings import Settings

PARTS = (signing_in, listing, profile_page, fact_page, decisions, who_is_who, forgetting, status_page, calls)


def install(app: FastAPI) -> None:
    """After the API's own parts and error handlers."""
    for part in PARTS:
        app.include_router(part.router)
    problems.install(app)


@contextmanager
def opened(app: FastAPI, settings: Settings) -> Iterator[None]:
    """What the routes find in ``app.state``."""
    app.state.sessions = Sessions(settings.api_key.get_secret_value() if settings.api_key else None)
    app.state.retry = Retry(settings)
    app.state.runs = LastRuns(settings)
    app.state.counts = status_page.StatusCounts(app.state.services.pipeline.engine, settings)
    yield
