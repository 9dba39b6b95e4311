"""Errors as pages: whatever a route of the pages, or no route at all, answers with an error is shown as one."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response

from ingest_pipeline.api.guard import KEYED, OPEN_PATHS, SECURITY_HEADERS
from ingest_pipeline.api.pages.rendering import page, turn_to
from ingest_pipeline.api.pages.visits import LoginNeeded, StaleForm, begin_visit
from ingest_pipeline.errors import ProfileNotFound

Handler = Callable[[Request, Any], Awaitable[Response]]

TITLES = {
    400: "That did not work",
    403: "Not allowed",
    404: "Nothing here",
    405: "Nothing here",
    429: "Too many attempts",
    503: "Not available just now",
}


def install(app: FastAPI) -> None:
    """Put pages over the API's error handlers, for paths that are not the API's."""
    for error, handler in list(app.exception_handlers.items()):
        app.exception_handlers[error] = _shown(handler)  # type: ignore[arg-type]


def is_page(path: str) -> bool:
    return path not in OPEN_PATHS and not path.startswith(KEYED)


def _shown(handler: Handler) -> Handler:
    async def handle(request: Request, error: Any) -> Response:
        if not is_page(request.url.path):
            return await handler(request, error)
        if isinstance(error, LoginNeeded):
            return turn_to(f"/login?next={request.url.path}" if request.method == "GET" else "/login")
        plain = await handler(request, error)
        status = 403 if isinstance(error, StaleForm) else plain.status_code
        message = json.loads(bytes(plain.body))["error"]["message"]
        if isinstance(error, ProfileNotFound):
            message = "No profile has this id. It may have been erased."
        elif status in (404, 405):
            message = message if status == 404 and not _is_bare(error) else "There is no such page."
        visit = getattr(request.state, "visit", None) or await begin_visit(request)
        headers = {name: value for name, value in plain.headers.items() if name == "retry-after"}
        headers |= SECURITY_HEADERS  # an unforeseen error is answered outside the guard
        title = TITLES.get(status, "Something went wrong")
        return page(request, visit, "problem.html", status, headers, title=title, message=message)

    return handle


def _is_bare(error: Any) -> bool:
    """Whether the error is the router's own."""
    return getattr(error, "detail", None) == "Not Found"
