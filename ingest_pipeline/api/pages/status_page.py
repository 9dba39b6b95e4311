"""The status page: what is in the store, what is pending, what failed, what ran, what was spent; and `ingest retry`."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from ingest_pipeline.api.pages.background import Retry
from ingest_pipeline.api.pages.chart import draw
from ingest_pipeline.api.pages.fact_page import run_address
from ingest_pipeline.api.pages.rendering import Notice, environment, page, turn_to
from ingest_pipeline.api.pages.runs import LastRuns
from ingest_pipeline.api.pages.visits import Changing, Visit, Visited
from ingest_pipeline.batching import open_batches
from ingest_pipeline.estimating import load_last_minute
from ingest_pipeline.store.audits import count_failed
from ingest_pipeline.store.expiring import count_expired
from ingest_pipeline.store.overview import count_open, load_overview
from ingest_pipeline.store.spend import load_spend

router = APIRouter(include_in_schema=False)

DAYS = 30


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a retry is. ``open``: documents that are still to be done; ``share`` of those that were, 0 to 100."""

    open: int
    todo: int
    share: int


@router.get("/status")
def status(request: Request, visit: Visited) -> Response:
    engine, now = visit.engine, datetime.now(UTC)
    runs: LastRuns = request.app.state.runs
    found = runs.load()
    return page(
        request,
        visit,
        "status.html",
        overview=load_overview(engine),
        given_up=count_failed(engine, max_attempts=visit.settings.max_attempts),
        last_minute=load_last_minute(engine),
        batches=open_batches(engine),
        expired=count_expired(engine, visit.settings.keep_days, now),
        chart=draw(load_spend(engine, now.date(), DAYS)),
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
    started = _retry_of(request).start(visit.actor, count_open(visit.engine))
    notice = Notice("The retry has begun." if started else "A retry is going on already.", bad=not started)
    return turn_to("/status", request, notice)


def _retry_of(request: Request) -> Retry:
    found: Retry = request.app.state.retry
    return found


def _retry(request: Request, visit: Visit) -> dict[str, Any]:
    state = _retry_of(request).state()
    still = count_open(visit.engine)
    todo = max(state.begun.todo if state.begun else 0, still)
    share = round(100 * (todo - still) / todo) if todo else 100
    url = run_address(visit, state.run_id)
    return {"retry": state, "progress": Progress(still, todo, share), "retry_url": url}
