"""Erasing a person: what would go, a yes, and the proof."""

from concurrent.futures import wait

from fastapi import APIRouter, Request
from fastapi.responses import Response

from ingest_pipeline.api.pages.rendering import page
from ingest_pipeline.api.pages.visits import Changing, Text, Visited
from ingest_pipeline.erasing import preview
from ingest_pipeline.store.audit_log import Audited, Via
from ingest_pipeline.store.facts import load_facts

router = APIRouter(include_in_schema=False, prefix="/profiles/{profile}")

WAIT_S = 15.0
"""How long the answer is waited for; it goes on after that."""


@router.get("/forget")
def forget_page(request: Request, profile: str, visit: Visited) -> Response:
    living = visit.living(profile)
    visit.record(Audited.SHOW, living)
    facts = load_facts(visit.engine, living)
    return page(
        request, visit, "forget.html", facts=facts, preview=preview(visit.engine, living), running=False, problem=""
    )


@router.post("/forget")
def forget(request: Request, profile: str, visit: Changing, sure: Text = "") -> Response:
    """``sure``: the box that was ticked."""
    living = visit.living(profile)
    facts = load_facts(visit.engine, living)
    if sure != "yes":
        goes, problem = preview(visit.engine, living), "Tick the box to go on."
        return page(request, visit, "forget.html", 400, facts=facts, preview=goes, running=False, problem=problem)
    erasing = visit.services.erasures.begin(living, visit.actor, Via.VIEWER)
    wait([erasing], WAIT_S)
    if not erasing.done():
        return page(request, visit, "forget.html", 202, facts=facts, preview=None, running=True, problem="")
    return page(request, visit, "forgotten.html", done=erasing.result())
