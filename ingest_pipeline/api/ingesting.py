"""The ingest endpoint: one text about one profile, stored, extracted and folded before the answer."""

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse

from ingest_pipeline.api.bodies import IngestBody
from ingest_pipeline.api.openapi import answers, body_of
from ingest_pipeline.api.requests import TEXT_CODES, text_request
from ingest_pipeline.api.services import FINDING, Called, take_api
from ingest_pipeline.api.shapes import Ingested
from ingest_pipeline.direct import ingest_text
from ingest_pipeline.wire import text_result_json

EXAMPLE = {
    "data": "I moved to Lisbon last month. Please call me, I never read e-mail.",
    "source": "survey",
    "metadata": {"question": 4},
    "occurredAt": "2024-06-01T10:00:00Z",
}

router = APIRouter(tags=["ingest"], dependencies=[Depends(take_api)])


@router.post(
    "/api/profiles/{profile}/ingest",
    responses=answers(Ingested, *TEXT_CODES, "extraction_error", "rate_limited", "budget_exhausted", *FINDING),
    openapi_extra=body_of(EXAMPLE),
)
def ingest(profile: str, body: IngestBody, call: Called) -> JSONResponse:
    """Ingest a text. The same text again gives the same answer, without a call to the model, all counts zero."""
    request = text_request(body)
    result = ingest_text(call.pipeline, call.find(profile), request)
    return JSONResponse(text_result_json(result, request))
