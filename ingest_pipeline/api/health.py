"""Whether the server is alive, and whether it can work."""

from fastapi import APIRouter, Request
from sqlalchemy import text

from ingest_pipeline.api.openapi import answers
from ingest_pipeline.api.shapes import Alive
from ingest_pipeline.store.engine import reading

router = APIRouter(tags=["health"])


@router.get("/health", responses=answers(Alive))
async def health() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/ready", responses=answers(Alive, "internal_error"))
def ready(request: Request) -> dict[str, str]:
    """The database answers too; else 503."""
    with reading(request.app.state.services.pipeline.engine) as connection:
        connection.execute(text("SELECT 1"))
    return {"status": "ready"}
