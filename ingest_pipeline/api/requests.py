"""Texts as they are given over HTTP, to the core's own request, which checks the rest."""

from ingest_pipeline.api.bodies import IngestBody
from ingest_pipeline.direct import TextRequest
from ingest_pipeline.errors import InvalidInput
from ingest_pipeline.given import given_moment

TEXT_CODES = (
    "invalid_json",
    "invalid_data",
    "data_too_large",
    "invalid_source",
    "invalid_metadata",
    "invalid_extract_traits",
    "invalid_extract_memories",
    "invalid_trait_schema",
    "invalid_occurred_at",
)
"""What may be wrong with a text."""


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
        occurred_at=given_moment(body.occurredAt),
        traits=body.traits,
    )
