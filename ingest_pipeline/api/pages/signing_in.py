"""Login, logout, and the files that come with the pages."""

import re
from typing import Annotated

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from ingest_pipeline.api.guard import is_key
from ingest_pipeline.api.pages.rendering import page, set_session, static_file, turn_to
from ingest_pipeline.api.pages.sessions import COOKIE, DEFAULT_ACTOR
from ingest_pipeline.api.pages.visits import Begun, Changing, Checked, Text, Visit, sessions_of
from ingest_pipeline.api.rates import RateKind
from ingest_pipeline.errors import InvalidInput
from ingest_pipeline.store.audit_log import check_actor

router = APIRouter(include_in_schema=False)

_OURS = re.compile(r"/(?:profiles|status|duplicates)(?:/[\w-][\w.-]*)*")
_YEAR_S = 365 * 24 * 3600


@router.get("/")
def start() -> Response:
    return turn_to("/profiles")


@router.get("/login")
def login_page(request: Request, visit: Begun, goal: Annotated[str, Query(alias="next")] = "") -> Response:
    return _form(request, visit, goal)


def _form(request: Request, visit: Visit, goal: str, problem: str = "", status: int = 200) -> Response:
    return page(request, visit, "login.html", status, goal=_own_path(goal), problem=problem)


def _own_path(path: str) -> str:
    """A page of ours, never another site's."""
    return path if _OURS.fullmatch(path) else "/profiles"


@router.post("/login")
def log_in(
    request: Request,
    visit: Checked,
    key: Text = "",
    name: Text = "",
    goal: Annotated[str, Form(alias="next")] = "",
) -> Response:
    """A right key begins a new session; without a key set the name alone does."""
    if visit.keyed:
        visit.services.rates.take(RateKind.LOGIN, request.state.address)
        if not is_key(visit.settings.api_key.get_secret_value() if visit.settings.api_key else None, key.strip()):
            return _form(request, visit, goal, "This key is not valid.", 403)
    try:
        actor = check_actor(name) if name.strip() else DEFAULT_ACTOR
    except InvalidInput as error:
        return _form(request, visit, goal, str(error), 400)
    sessions = sessions_of(request)
    session = sessions.begin(actor, proven=True)
    response = turn_to(_own_path(goal))
    set_session(request, response, Visit(visit.services, session, sessions.token(session), visit.keyed))
    return response


@router.post("/logout")
def log_out(visit: Changing) -> Response:
    response = turn_to("/login")
    response.delete_cookie(COOKIE)
    return response


@router.get("/static/{name}")
def static(name: str) -> Response:
    found = static_file(name)
    if found is None:
        raise HTTPException(404)
    content, kind = found
    return Response(content, media_type=kind, headers={"Cache-Control": f"public, max-age={_YEAR_S}, immutable"})
