"""The list of profiles, and those that may be one person."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from ingest_pipeline.api.pages.paging import Paging
from ingest_pipeline.api.pages.rendering import page
from ingest_pipeline.api.pages.visits import Visited
from ingest_pipeline.store.lookup import list_profiles
from ingest_pipeline.store.suggestions import suggest_merges

router = APIRouter(include_in_schema=False)

PER_PAGE = 25
SUGGESTED = 50


@router.get("/profiles")
def profiles(
    request: Request,
    visit: Visited,
    q: Annotated[str, Query(max_length=200)] = "",
    number: Annotated[int, Query(alias="page", ge=1, le=10_000_000)] = 1,
) -> Response:
    found, total = list_profiles(visit.engine, q, PER_PAGE, (number - 1) * PER_PAGE)
    paging = Paging(number, PER_PAGE, total, "/profiles", {"q": q} if q else {})
    return page(request, visit, "profiles.html", profiles=found, q=q, paging=paging)


@router.get("/duplicates")
def duplicates(request: Request, visit: Visited) -> Response:
    return page(request, visit, "duplicates.html", suggestions=suggest_merges(visit.engine, SUGGESTED))
