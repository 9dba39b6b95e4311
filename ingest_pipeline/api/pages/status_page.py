"""The status page: what is in the store, what is pending, what failed, what ran, what was spent; and `ingest retry`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response
from sqlalchemy import Engine

from ingest_pipeline.api.pages.background import Retry
from ingest_pipeline.api.pages.chart import draw
from ingest_pipeline.api.pages.fact_page import run_address
from ingest_pipeline.api.pages.latest import Latest
from ingest_pipeline.api.pages.rendering import Notice, environment, page, turn_to
from ingest_pipeline.api.pages.runs import LastRuns
from ingest_pipeline.api.pages.visits import Changing, Visit, Visited
from ingest_pipeline.batching import open_batches
from ingest_pipeline.documents import Source
from ingest_pipeline.estimating import LastMinute, load_last_minute
from ingest_pipeline.llm.batch_rows import Batch
from ingest_pipeline.settings import Settings
from ingest_pipeline.store.audits import count_failed
from ingest_pipeline.store.expiring import count_expired
from ingest_pipeline.store.overview import Overview, count_open, load_overview
from ingest_pipeline.store.spend import load_spend

router = APIRouter(include_in_schema=False)

DAYS = 30


AGED_S = 10
"""From this age on a page says when it was counted."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a retry is. ``open``: documents that are still to be done, None when nobody knows yet; ``share`` of those
    that were, 0 to 100."""

    open: int | None
    todo: int
    share: int


@dataclass(frozen=True, slots=True)
class Counted:
    """All that is counted for the page."""

    overview: Overview
    given_up: Mapping[str, int]
    last_minute: LastMinute
    batches: Sequence[Batch]
    expired: Mapping[Source, int]


class StatusCounts:
    """One per process. Counting takes as long as there are documents."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.all = Latest(partial(_count, engine, settings))
        self.open = Latest(partial(count_open, engine))


def _count(engine: Engine, settings: Settings) -> Counted:
    return Counted(
        load_overview(engine),
        count_failed(engine, max_attempts=settings.max_attempts),
        load_last_minute(engine),
        open_batches(engine),
        count_expired(engine, settings.keep_days, datetime.now(UTC)),
    )


@router.get("/status")
def status(request: Request, visit: Visited) -> Response:
    now = datetime.now(UTC)
    runs: LastRuns = request.app.state.runs
    found, counted = runs.load(), _counts_of(request).all.load()
    return page(
        request,
        visit,
        "status.html",
        counted=counted.value if counted else None,
        counted_at=counted.at if counted and (now - counted.at).total_seconds() >= AGED_S else None,
        chart=draw(load_spend(visit.engine, now.date(), DAYS)),
        runs=found,
        run_urls={run.id: run_address(visit, run.id) for run in found or ()},
        **_retry(request, visit),
    )


@router.get("/status/progress")
def progress(request: Request, visit: Visited) -> Response:
    """The part of the page that changes while a retry runs."""
    shown = {"visit": visit, **_retry(request, visit)}
    return HTMLResponse(environment().get_template("retry.html").render(shown))


@router.post("/status/retry")
def retry(request: Request, visit: Changing) -> Response:
    still = _counts_of(request).open.load()
    started = _retry_of(request).start(visit.actor, still.value if still else 0)
    notice = Notice("The retry has begun." if started else "A retry is going on already.", bad=not started)
    return turn_to("/status", request, notice)


def _retry_of(request: Request) -> Retry:
    found: Retry = request.app.state.retry
    return found


def _counts_of(request: Request) -> StatusCounts:
    found: StatusCounts = request.app.state.counts
    return found


def _retry(request: Request, visit: Visit) -> dict[str, Any]:
    state = _retry_of(request).state()
    counted = _counts_of(request).open.load()
    still = counted.value if counted else 0
    todo = max(state.begun.todo if state.begun else 0, still)
    share = round(100 * (todo - still) / todo) if todo else 100
    url = run_address(visit, state.run_id)
    return {"retry": state, "progress": Progress(counted.value if counted else None, todo, share), "retry_url": url}
