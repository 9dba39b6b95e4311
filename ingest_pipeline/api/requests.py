"""Texts as they are given over HTTP, to the core's own request, which checks the rest."""

from datetime import UTC, datetime

from ingest_pipeline.api.bodies import IngestBody
from ingest_pipeline.direct import TextRequest
from ingest_pipeline.documents import Json
from ingest_pipeline.errors import InvalidInput


def text_request(body: IngestBody) -> TextRequest:
    """The body as the core takes it. Raises InvalidInput."""
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
        occurred_at=moment(body.occurredAt),
    )


def moment(value: Json) -> datetime | None:
    """A time without a zone is in UTC. Raises InvalidInput (``invalid_occurred_at``)."""
    if value is None:
        return None
    try:
        given = datetime.fromisoformat(value)
        return (given if given.tzinfo else given.replace(tzinfo=UTC)).astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        raise InvalidInput(
            "invalid_occurred_at", "occurredAt must be an ISO 8601 time such as 2024-05-03T09:30:00Z", "occurredAt"
        ) from None
