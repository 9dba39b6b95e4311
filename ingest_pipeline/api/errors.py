"""Errors on the wire: every one is ``{"error": {"message", "type", "code", "param"?, "details"?}}``."""

import logging
import math
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoneFree
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from ingest_pipeline.api.rates import TooManyRequests
from ingest_pipeline.documents import Json
from ingest_pipeline.errors import ExtractionError, IngestError, InvalidInput, StoreUnavailable
from ingest_pipeline.proxy.errors import NoRoom, NotAllowed, UpstreamFailed
from ingest_pipeline.wire import error_json

RETRY_AFTER_S = 30
"""For what time alone mends, when nobody knows how much of it."""

_NO_OBJECT = "the body must be a JSON object, its Content-Type application/json"

_log = logging.getLogger(__name__)


class Unauthorised(IngestError):
    """No key, or a wrong one. ``code`` is ``missing_api_key`` or ``invalid_api_key``."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class TooLarge(IngestError):
    """The body has more bytes than this path takes; it was not read to its end."""

    def __init__(self, code: str, limit: int) -> None:
        super().__init__(f"the request body exceeds {limit:,} bytes")
        self.code = code


def error_body(message: str, kind: str, code: str, param: str | None = None) -> Json:
    body = {"message": message, "type": kind, "code": code}
    return {"error": body | ({"param": param} if param else {})}


def answer(error: IngestError) -> JSONResponse:
    """The response that says what is wrong."""
    if isinstance(error, TooManyRequests):
        headers = error.allowance.headers() | {"Retry-After": str(max(1, math.ceil(error.retry_after_s)))}
        body = error_body(str(error), "rate_limit_error", "rate_limit_exceeded")
        return JSONResponse(body, 429, headers)
    if isinstance(error, Unauthorised):
        body = error_body(str(error), "authentication_error", error.code)
        return JSONResponse(body, 401, {"WWW-Authenticate": "Bearer"})
    if isinstance(error, NotAllowed):
        return JSONResponse(error_body(str(error), "permission_denied_error", error.code), 403)
    if isinstance(error, NoRoom):
        headers = {"Retry-After": str(max(1, math.ceil(error.retry_after_s)))}
        return JSONResponse(error_body(str(error), "rate_limit_error", error.code), 503, headers)
    if isinstance(error, UpstreamFailed):
        return _upstream_failed(error)
    if isinstance(error, TooLarge):
        return JSONResponse(error_body(str(error), "invalid_request_error", error.code), 400)
    if isinstance(error, InvalidInput):
        return JSONResponse(error_json(error), 404 if error.code.endswith("_not_found") else 400)
    if isinstance(error, ExtractionError):
        body = error_json(error)
        if body["error"]["type"] == "rate_limit_error":
            return JSONResponse(body, 503, {"Retry-After": str(RETRY_AFTER_S)})
        return JSONResponse(body, 500)
    if isinstance(error, StoreUnavailable):
        return JSONResponse(error_json(error), 503, {"Retry-After": str(RETRY_AFTER_S)})
    return JSONResponse(error_json(error), 500)


def _upstream_failed(error: UpstreamFailed) -> JSONResponse:
    body = error_body(str(error), "upstream_error", "upstream_error")
    body["error"]["details"] = {"status": error.status, "code": error.upstream_code}
    return JSONResponse(body, error.status, {"Retry-After": error.retry_after} if error.retry_after else None)


def database_failed(error: DBAPIError | NoneFree) -> JSONResponse:
    """It failed, or none of the connections to it was free in time. Its own text may quote values: it is neither told
    nor logged."""
    _log.error("the database failed: %s", type(error.orig if isinstance(error, DBAPIError) else error).__name__)
    body = error_body("the database failed; try again", "internal_error", "internal_error")
    return JSONResponse(body, 503, {"Retry-After": str(RETRY_AFTER_S)})


def install(app: FastAPI) -> None:
    """Every way in which a request can end badly has the one shape."""

    @app.exception_handler(IngestError)
    async def _on_ours(_request: Request, error: IngestError) -> JSONResponse:
        return answer(error)

    @app.exception_handler(DBAPIError)
    @app.exception_handler(NoneFree)
    async def _on_database(_request: Request, error: DBAPIError | NoneFree) -> JSONResponse:
        return database_failed(error)

    @app.exception_handler(RequestValidationError)
    async def _on_validation(_request: Request, error: RequestValidationError) -> JSONResponse:
        return answer(invalid_input(error.errors()))

    @app.exception_handler(HTTPException)
    async def _on_http(_request: Request, error: HTTPException) -> JSONResponse:
        if isinstance(error.__cause__, IngestError):  # FastAPI wraps what is raised while it reads the body
            return answer(error.__cause__)
        if error.status_code == 400:  # what FastAPI says of a body that it cannot decode
            return answer(InvalidInput("invalid_json", _NO_OBJECT))
        kind = "not_found_error" if error.status_code == 404 else "invalid_request_error"
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "invalid_request")
        return JSONResponse(error_body(str(error.detail), kind, code), error.status_code, error.headers)

    @app.exception_handler(ClientDisconnect)
    async def _on_gone(_request: Request, _error: ClientDisconnect) -> JSONResponse:
        # No fault of ours, and nobody reads it.
        return answer(InvalidInput("invalid_json", "the body broke off"))

    @app.exception_handler(Exception)
    async def _on_bug(_request: Request, _error: Exception) -> JSONResponse:
        # The server logs it.
        return JSONResponse(error_body("internal error; the log has it", "internal_error", "internal_error"), 500)


_CODES = {"type": "invalid_memory_type"}
"""Where the code is not that of the field's name."""


def invalid_input(problems: Any) -> InvalidInput:
    """The first of pydantic's problems with a field's own code: ``invalid_<field>``, ``missing_<field>``.

    A model says otherwise for a field by raising PydanticCustomError(code, message).
    """
    first = problems[0]
    place = [part for part in first["loc"] if part not in ("body", "query", "path", "header")]
    field = str(place[0]) if place else ""
    if first["type"] == "json_invalid" or not field:
        return InvalidInput("invalid_json", _NO_OBJECT)
    if first["type"].startswith(("invalid_", "missing_", "data_", "message_", "too_", "total_")):
        return InvalidInput(first["type"], first["msg"], field)
    snake = "".join(f"_{c.lower()}" if c.isupper() else c for c in field)
    return InvalidInput(
        _CODES.get(field, f"invalid_{snake}"), f"{field}: {first['msg'][:1].lower()}{first['msg'][1:]}", field
    )
