"""The LLM proxy's routes, as OpenAI's clients call them."""

from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from ingest_pipeline.api.openapi import answers
from ingest_pipeline.api.services import take_proxy
from ingest_pipeline.api.shapes import ChatCompletion, Error, Models
from ingest_pipeline.proxy.request import ROLES
from ingest_pipeline.proxy.service import ChatProxy

router = APIRouter(prefix="/v1", tags=["proxy"], dependencies=[Depends(take_proxy)])

_MESSAGE = {
    "type": "object",
    "required": ["role"],
    "properties": {
        "role": {"type": "string", "enum": sorted(ROLES)},
        "content": {
            "anyOf": [
                {"type": "string"},
                {"type": "null"},
                {
                    "type": "array",
                    "items": {"type": "object", "required": ["type"], "properties": {"type": {"type": "string"}}},
                },
            ]
        },
    },
}
_BODY: dict[str, Any] = {
    "type": "object",
    "required": ["model", "messages"],
    "properties": {
        "model": {"type": "string"},
        "messages": {"type": "array", "minItems": 1, "maxItems": 100, "items": _MESSAGE},
        "stream": {"type": "boolean"},
        "user": {"type": "string", "description": "Who is talking, if no header says."},
        "metadata": {"type": "object", "description": "`profile_id` says who is talking; the rest goes upstream."},
        "getprofile": {
            "type": "object",
            "properties": {
                "skipInjection": {"type": "boolean"},
                "skipExtraction": {"type": "boolean"},
                "traits": {"type": "array", "items": {"type": "object"}, "description": "A trait schema of its own."},
            },
        },
    },
}
_OPENAPI = {"requestBody": {"required": True, "content": {"application/json": {"schema": _BODY}}}}


_CODES = (
    "invalid_json",
    "missing_user_id",
    "invalid_external_id",
    "ambiguous_profile",
    "profile_erased",
    "invalid_metadata",
    "invalid_stream",
    "missing_messages",
    "missing_model",
    "invalid_message_format",
    "invalid_getprofile_options",
    "too_many_messages",
    "message_too_large",
    "total_size_too_large",
    "unsupported_parameter",
    "model_not_found",
    "invalid_upstream_provider",
    "missing_upstream_key",
    "upstream_base_url_not_allowed",
    "rate_limited",
    "budget_exhausted",
)
_ANSWERS = answers(ChatCompletion, *_CODES) | {"default": {"model": Error, "description": "As the upstream answered."}}


@router.post("/chat/completions", openapi_extra=_OPENAPI, responses=_ANSWERS)
async def complete(request: Request) -> Response:
    """Forward a chat with what is known of the user, and learn from what they say. All other parameters go upstream."""
    proxy: ChatProxy = request.app.state.proxy
    answer = await proxy.complete(await request.body(), request.headers)
    if isinstance(answer, bytes):
        return Response(answer, media_type="application/json")
    # Proxies in front must not wait for the end.
    return StreamingResponse(answer, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


@router.get("/models", responses=answers(Models))
async def models(request: Request) -> JSONResponse:
    """The models that may be asked for."""
    proxy: ChatProxy = request.app.state.proxy
    listed = [{"id": name, "object": "model", "created": 0, "owned_by": "upstream"} for name in proxy.models]
    return JSONResponse({"object": "list", "data": listed})
