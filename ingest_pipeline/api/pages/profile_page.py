"""The page of a profile."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from ingest_pipeline.api.pages.fact_page import name_of
from ingest_pipeline.api.pages.paging import Paging
from ingest_pipeline.api.pages.profile_view import view_profile
from ingest_pipeline.api.pages.rendering import page, turn_to
from ingest_pipeline.api.pages.visits import Visit, Visited
from ingest_pipeline.store.audit_log import Audited
from ingest_pipeline.store.edits import load_edits
from ingest_pipeline.store.facts import load_facts
from ingest_pipeline.store.passages import list_documents

router = APIRouter(include_in_schema=False, prefix="/profiles/{profile}")

DOCUMENTS_PER_PAGE = 50


@router.get("")
def show(
    request: Request, profile: str, visit: Visited, every: Annotated[bool, Query(alias="all")] = False
) -> Response:
    """``all``: memories and events that are not among the first, too."""
    living = visit.living(profile)
    if living != profile:
        return turn_to(f"/profiles/{living}")
    facts = load_facts(visit.engine, living)
    visit.record(Audited.SHOW, living)
    view = view_profile(facts, load_edits(visit.engine, living), visit.schema_of(living), every)
    return page(
        request,
        visit,
        "profile.html",
        facts=facts,
        view=view,
        every=every,
        identifiers=identifiers_of(visit, facts.identifiers),
    )


@dataclass(frozen=True, slots=True)
class ShownIdentifier:
    """``short``: without the system's own prefix. ``url`` of the person's record there."""

    kind: str
    value: str
    short: str
    url: str | None


def identifiers_of(visit: Visit, identifiers: tuple[str, ...]) -> list[ShownIdentifier]:
    links = visit.settings.record_urls
    pairs = [identifier.partition(":")[::2] for identifier in identifiers]
    return [
        ShownIdentifier(kind, value, value.rpartition("/")[2] or value, links.of_identifier(kind, value))
        for kind, value in pairs
    ]


@router.get("/documents")
def documents(
    request: Request,
    profile: str,
    visit: Visited,
    number: Annotated[int, Query(alias="page", ge=1, le=10_000_000)] = 1,
) -> Response:
    """What there is to read of a profile."""
    living = visit.living(profile)
    if living != profile:
        return turn_to(f"/profiles/{living}/documents")
    visit.record(Audited.SHOW, living, part="documents")
    found, total = list_documents(visit.engine, living, DOCUMENTS_PER_PAGE, (number - 1) * DOCUMENTS_PER_PAGE)
    paging = Paging(number, DOCUMENTS_PER_PAGE, total, f"/profiles/{living}/documents")
    return page(
        request, visit, "documents.html", profile=living, person=name_of(visit, living), documents=found, paging=paging
    )
