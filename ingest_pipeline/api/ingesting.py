"""The ingest endpoint: one text about one profile, stored, extracted and folded before the answer."""

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse

from ingest_pipeline.api.bodies import IngestBody
from ingest_pipeline.api.requests import text_request
from ingest_pipeline.api.services import Called, take_api
from ingest_pipeline.direct import ingest_text
from ingest_pipeline.wire import text_result_json

router = APIRouter(tags=["ingest"], dependencies=[Depends(take_api)])


@router.post("/api/profiles/{profile}/ingest")
def ingest(profile: str, body: IngestBody, call: Called) -> JSONResponse:
    """Ingest a text. The same text again gives the same answer, without a call to the model, all counts zero."""
    request = text_request(body)
    result = ingest_text(call.pipeline, call.find(profile), request)
    return JSONResponse(text_result_json(result, request))
