"""The OpenAPI document: what every call answers, each error with its codes, and the key."""

from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from ingest_pipeline.api.guard import KEYED
from ingest_pipeline.api.shapes import Error
from ingest_pipeline.documents import Json

Responses = dict[int | str, dict[str, Any]]

TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_denied_error",
    404: "not_found_error",
    429: "rate_limit_error",
    500: "internal_error",
    503: "internal_error",
}

STATUS = {
    "missing_api_key": 401,
    "invalid_api_key": 401,
    "rate_limit_exceeded": 429,
    "extraction_error": 500,
    "rate_limited": 503,
    "budget_exhausted": 503,
    "internal_error": 503,
    "configuration_error": 503,
    "foreign_request": 403,
    "upstream_base_url_not_allowed": 403,
}
"""Of codes that are neither 404 (they end so) nor 400."""

EVERYWHERE = (
    "invalid_actor",
    "missing_api_key",
    "invalid_api_key",
    "foreign_request",
    "rate_limit_exceeded",
    "internal_error",
    "configuration_error",
)
"""Codes of every call that asks for the key."""

_SAID = {
    401: "No key, or a wrong one.",
    403: "Another site asks, or asks for a server that is not allowed.",
    404: "There is no such thing.",
    429: "Too many requests; `Retry-After` says when to go on.",
    503: "Try again later; `Retry-After` says when.",
}


def status_of(code: str) -> int:
    return STATUS.get(code) or (404 if code.endswith("_not_found") else 400)


def answers(shape: type[Any], *codes: str, status: int = 200, example: Json = None) -> Responses:
    """``responses`` of a route: what it answers when all is well, and the codes of what may be wrong."""
    good: dict[str, Any] = {"model": shape, "description": "As asked."}
    if example is not None:
        good["content"] = {"application/json": {"example": example}}
    return {status: good, **_errors(codes)}


def _errors(codes: tuple[str, ...]) -> Responses:
    by_status: dict[int, list[str]] = defaultdict(list)
    for code in codes:
        by_status[status_of(code)].append(code)
    return {
        status: {
            "model": Error,
            "description": f"{_SAID.get(status, 'Something is wrong.')} Codes: {', '.join(f'`{c}`' for c in some)}.",
            "content": {"application/json": {"example": _example(some[0])}},
        }
        for status, some in sorted(by_status.items())
    }


def _example(code: str) -> Json:
    kind = "rate_limit_error" if code in ("rate_limited", "budget_exhausted") else TYPES[status_of(code)]
    return {"error": {"message": "what is wrong and what to do", "type": kind, "code": code}}


def body_of(example: Mapping[str, Json]) -> dict[str, Any]:
    """``openapi_extra`` of a route: an example of its body."""
    return {"requestBody": {"content": {"application/json": {"example": dict(example)}}}}


def install(app: FastAPI) -> None:
    """Let ``app.openapi()`` be the whole document; it is made once."""

    @cache
    def document() -> dict[str, Any]:
        made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        made["components"].setdefault("securitySchemes", {})["key"] = {
            "type": "http",
            "scheme": "bearer",
            "description": "INGEST_API_KEY. A server without one listens on loopback only and asks for none.",
        }
        for path, operations in made["paths"].items():
            for operation in operations.values():
                _complete(path, operation)
        for unused in ("HTTPValidationError", "ValidationError"):
            made["components"]["schemas"].pop(unused, None)
        return made

    app.openapi = document  # type: ignore[method-assign]


def _complete(path: str, operation: dict[str, Any]) -> None:
    """The key, and the errors that every call with a key has. FastAPI's own 422 is answered as 400 here."""
    responses = operation["responses"]
    responses.pop("422", None)
    if not path.startswith(KEYED):
        return
    operation["security"] = [{"key": []}]
    for status, response in _errors(EVERYWHERE).items():
        del response["model"]
        response["content"]["application/json"]["schema"] = {"$ref": "#/components/schemas/Error"}
        known = responses.setdefault(str(status), response)
        if known is not response:
            codes = response["description"].rpartition("Codes: ")[2]
            known["description"] = f"{known['description'].removesuffix('.')}, {codes}"
    operation["responses"] = dict(sorted(responses.items()))
