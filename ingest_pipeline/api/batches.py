"""Many texts in one request: stored before the answer, extracted after it."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect

from ingest_pipeline.api.errors import TooLarge, answer, error_body
from ingest_pipeline.api.openapi import answers
from ingest_pipeline.api.receiving import PAGE_BYTES, PAGE_LINES, Line, Lines, Receiver
from ingest_pipeline.api.services import Call, Called, take_api
from ingest_pipeline.api.shapes import Accepted, Progress
from ingest_pipeline.documents import Json
from ingest_pipeline.errors import InvalidInput
from ingest_pipeline.store.uploads import LineFailure, Upload, load_failures, load_upload
from ingest_pipeline.wire import time_json

router = APIRouter(prefix="/api/ingest/batch", tags=["ingest"], dependencies=[Depends(take_api)])

FIRST_FAILURES = 100


_LINES = (
    '{"profile": "ana@acme.com", "data": "I moved to Lisbon.", "occurredAt": "2024-06-01T10:00:00Z"}\n'
    '{"profile": "crm-7", "data": "Prefers a call.", "source": "notes"}\n'
)
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/jsonl": {
                "schema": {"type": "string", "description": "An object per line: as for one text, and `profile`."},
                "example": _LINES,
            }
        },
    }
}


@router.post(
    "",
    status_code=202,
    responses=answers(Accepted, "invalid_data", "data_too_large", "invalid_json", status=202),
    openapi_extra=_BODY,
)
async def batch(request: Request, call: Called) -> JSONResponse:
    """Hand over many texts as JSON Lines. All of them are stored, or their lines rejected, before the answer.

    A body that breaks off or is too large counts as far as it came: the same lines again are the same texts.
    """
    receiver = Receiver(call.pipeline, call.actor)
    try:
        async for page in _pages(request):
            await run_in_threadpool(receiver.store, page)
    except (TooLarge, ClientDisconnect) as error:
        await run_in_threadpool(_end, receiver, call)
        if isinstance(error, TooLarge):
            return await run_in_threadpool(_refused, error, receiver, call)
        return JSONResponse(error_body("the body broke off", "invalid_request_error", "invalid_json"), 400)
    await run_in_threadpool(_end, receiver, call)
    if receiver.upload_id is None:
        raise InvalidInput("invalid_data", "the body must be JSON Lines: one object per line", "data")
    upload = await run_in_threadpool(load_upload, call.engine, receiver.upload_id)
    return JSONResponse({"job": _upload_json(upload)}, 202, {"Location": f"/api/ingest/batch/{upload.id}"})


@router.get("/{job}", responses=answers(Progress, "job_not_found", "invalid_limit", "invalid_after"))
def progress(
    job: str,
    call: Called,
    after: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0,
    limit: Annotated[int, Query(ge=1, le=1_000)] = FIRST_FAILURES,
) -> JSONResponse:
    """How far a batch is, and the lines that were rejected or whose extraction failed; ``after``: a line's number."""
    upload = load_upload(call.engine, job)
    failures = load_failures(call.engine, upload.id, after, limit + 1)
    shown = [_failure_json(failure) for failure in failures[:limit]]
    return JSONResponse({"job": _upload_json(upload), "failures": shown, "more": len(failures) > limit})


async def _pages(request: Request) -> AsyncIterator[list[Line]]:
    """Lines in pages. What came before an error does too."""
    lines, page, size = Lines(), list[Line](), 0
    try:
        async for chunk in request.stream():
            for line in lines.feed(chunk):
                page.append(line)
                size += len(line[1] or b"")
                if len(page) == PAGE_LINES or size >= PAGE_BYTES:
                    yield page
                    page, size = [], 0
        page += lines.rest()
    except (TooLarge, ClientDisconnect):
        yield page
        raise
    yield page


def _end(receiver: Receiver, call: Call) -> None:
    receiver.end()
    call.services.uploads.wake()


def _refused(error: TooLarge, receiver: Receiver, call: Call) -> JSONResponse:
    """Too large, and what became of the lines before."""
    if receiver.upload_id is None:
        return answer(error)
    job = _upload_json(load_upload(call.engine, receiver.upload_id))
    body = error_body(
        f"{error}; send the lines after those of this job by themselves", "invalid_request_error", error.code
    )
    body["error"]["details"] = {"job": job}
    return JSONResponse(body, 400)


def _upload_json(upload: Upload) -> dict[str, Json]:
    return {
        "id": upload.id,
        "state": upload.state,
        "total": upload.stored + upload.rejected,
        "stored": upload.stored,
        "rejected": upload.rejected,
        "extracted": upload.extracted,
        "failed": upload.failed,
        "problem": upload.problem,
        "createdAt": time_json(upload.created_at),
        "endedAt": time_json(upload.ended_at),
    }


def _failure_json(failure: LineFailure) -> dict[str, Json]:
    return {
        "line": failure.line,
        "code": failure.code,
        "message": failure.message,
        "documentId": failure.document_id,
    }
