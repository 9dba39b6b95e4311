"""One profile of two, two of one: what would happen, and then it."""

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response

from ingest_pipeline import merging
from ingest_pipeline.api.pages.rendering import Notice, page, turn_to
from ingest_pipeline.api.pages.visits import Changing, Text, Visit, Visited
from ingest_pipeline.errors import InvalidInput
from ingest_pipeline.merging import UndoPlan
from ingest_pipeline.store.audit_log import Audited
from ingest_pipeline.store.facts import load_facts
from ingest_pipeline.store.lookup import written

router = APIRouter(include_in_schema=False, prefix="/profiles/{profile}")

Sure = Annotated[str, Form()]
"""``yes`` on the form that shows what would happen."""


@router.get("/merge")
def merge_page(request: Request, profile: str, visit: Visited) -> Response:
    return _merge_page(request, visit, profile)


def _merge_page(request: Request, visit: Visit, profile: str, problem: str = "", other: str = "") -> Response:
    living = visit.living(profile)
    visit.record(Audited.SHOW, living)
    facts = load_facts(visit.engine, living)
    return page(
        request, visit, "merge.html", 400 if problem else 200, facts=facts, plan=None, problem=problem, other=other
    )


@router.post("/merge")
def merge(request: Request, profile: str, visit: Changing, other: Text = "", sure: Sure = "") -> Response:
    """First the plan, then, from its own form, the merge. ``other``: an id, external id or identifier."""
    living = visit.living(profile)
    try:
        plan = merging.plan_merge(visit.engine, living, other)
        if sure == "yes":
            done = merging.merge_profiles(visit.editor, plan)
            return turn_to(f"/profiles/{done.profile}", request, Notice("Merged. “Split” can take it back."))
    except InvalidInput as error:
        return _merge_page(request, visit, living, str(error), other)
    for one in (plan.into, plan.other):
        if one:
            visit.record(Audited.SHOW, one.id)
    return page(
        request, visit, "merge.html", facts=load_facts(visit.engine, living), plan=plan, problem="", other=other
    )


@router.get("/split")
def split_page(request: Request, profile: str, visit: Visited) -> Response:
    return _split_page(request, visit, profile)


def _split_page(request: Request, visit: Visit, profile: str, problem: str = "") -> Response:
    living = visit.living(profile)
    visit.record(Audited.SHOW, living)
    facts = load_facts(visit.engine, living)
    names = [written(*identifier.partition(":")[::2]) for identifier in facts.identifiers]
    status = 400 if problem else 200
    undo = _last_merge(visit, living)
    return page(
        request, visit, "split.html", status, facts=facts, identifiers=names, plan=None, undo=undo, problem=problem
    )


def _last_merge(visit: Visit, profile: str) -> UndoPlan | None:
    try:
        return merging.plan_undo(visit.engine, profile)
    except InvalidInput:  # nothing was merged by hand
        return None


@router.post("/split")
def split(
    request: Request,
    profile: str,
    visit: Changing,
    leaving: Annotated[list[str] | None, Form()] = None,
    sure: Sure = "",
) -> Response:
    """First the plan, then, from its own form, the split."""
    living = visit.living(profile)
    try:
        plan = merging.plan_split(visit.engine, living, leaving or [])
        if sure == "yes":
            done = merging.split_profile(visit.editor, plan)
            return turn_to(f"/profiles/{done.other}", request, Notice("Split. This is the new profile."))
    except InvalidInput as error:
        return _split_page(request, visit, living, str(error))
    visit.record(Audited.SHOW, living)
    facts = load_facts(visit.engine, living)
    return page(
        request, visit, "split.html", facts=facts, identifiers=[], plan=plan, undo=None, problem="", named=leaving or []
    )


@router.post("/unmerge")
def unmerge(request: Request, profile: str, visit: Changing, merge: Text = "") -> Response:
    """``merge``: the edit that the page showed; a later one is not taken back unseen."""
    living = visit.living(profile)
    try:
        plan = merging.plan_undo(visit.engine, living)
        if plan.merge.edit_id != merge:
            raise InvalidInput("changed_meanwhile", "somebody else merged or split this profile meanwhile; look again")
        done = merging.undo_merge(visit.editor, plan)
    except InvalidInput as error:
        return _split_page(request, visit, living, str(error))
    return turn_to(f"/profiles/{done.profile}", request, Notice("The merge is taken back."))
