"""The ingest endpoint: one text about one profile, stored, extracted and folded before the answer."""

from datetime import UTC, datetime

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse

from ingest_pipeline.api.bodies import IngestBody
from ingest_pipeline.api.services import Called, take_api
from ingest_pipeline.direct import TextRequest, ingest_text
from ingest_pipeline.documents import Json
from ingest_pipeline.errors import InvalidInput
from ingest_pipeline.wire import text_result_json

router = APIRouter(tags=["ingest"], dependencies=[Depends(take_api)])


@router.post("/api/profiles/{profile}/ingest")
def ingest(profile: str, body: IngestBody, call: Called) -> JSONResponse:
    """Ingest a text. The same text again gives the same answer, without a call to the model, all counts zero."""
    request = text_request(body)
    result = ingest_text(call.pipeline, call.find(profile), request)
    return JSONResponse(text_result_json(result, request))


def text_request(body: IngestBody) -> TextRequest:
    """The body as the core takes it, which checks the rest. Raises InvalidInput."""
    for name, value, code in (
        ("extractTraits", body.extractTraits, "invalid_extract_traits"),
        ("extractMemories", body.extractMemories, "invalid_extract_memories"),
    ):
        if not isinstance(value, bool):
            raise InvalidInput(code, f"{name} must be true or false", name)
    return TextRequest(
        data=body.data,
        source=body.source,
        metadata=body.metadata,
        extract_traits=body.extractTraits,
        extract_memories=body.extractMemories,
        occurred_at=_moment(body.occurredAt),
    )


def _moment(value: Json) -> datetime | None:
    """A time without a zone is in UTC. Raises InvalidInput (``invalid_occurred_at``)."""
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        raise InvalidInput(
            "invalid_occurred_at", "occurredAt must be an ISO 8601 time such as 2024-05-03T09:30:00Z", "occurredAt"
        ) from None
