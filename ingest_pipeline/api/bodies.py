"""Request bodies. Fields are of any type: the core checks them, and its errors carry the API's codes.

The schemas say what is meant, for the OpenAPI document.
"""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from ingest_pipeline.documents import Json
from ingest_pipeline.extraction.base import MemoryType


def _field(description: str, default: Json = None, **schema: Any) -> Any:
    return Field(default, description=description, json_schema_extra=schema)


Importance = Annotated[Json, Field(json_schema_extra={"type": "number", "minimum": 0, "maximum": 1})]


class Body(BaseModel):
    """Unknown fields are ignored: clients of later versions may send more."""

    model_config = ConfigDict(extra="ignore")


def _requires(*names: str) -> ConfigDict:
    return ConfigDict(json_schema_extra={"required": list(names)})


class IngestBody(Body):
    model_config = _requires("data")

    data: Json = _field("The text, at most 102,400 bytes of UTF-8.", type="string", minLength=1)
    source: Json = _field("Where it comes from, in your own words.", type="string")
    metadata: Json = _field("Kept with the text, at most 16 KB.", type="object")
    extractTraits: Json = _field("Fold traits of it in.", True, type="boolean")
    extractMemories: Json = _field("Fold memories of it in.", True, type="boolean")
    traits: Json = _field(
        "Trait schemas for this text, as in the trait schema's file, beside the ones there are.",
        type="array",
        items={"type": "object", "required": ["key", "valueType"]},
    )
    occurredAt: Json = _field("When it was written; now, if left out.", type="string", format="date-time")


class BatchLine(IngestBody):
    """A line of a batch."""

    model_config = _requires("profile", "data")

    profile: Json = _field("An id, an external id or an identifier such as an e-mail address.", type="string")


class ProfileBody(Body):
    model_config = _requires("externalId")

    externalId: Json = _field("Your own id of the person.", type="string", minLength=1, maxLength=255)


class SummaryBody(Body):
    model_config = _requires("summary")

    summary: Json = _field("Stays until it is changed by hand.", type="string", minLength=1)


class TraitBody(Body):
    model_config = _requires("value")

    value: Json = _field("As the trait schema has it.")
    confidence: Json = _field("0 to 1; as sure as can be, if left out.", type="number", minimum=0, maximum=1)


class MemoryBody(Body):
    model_config = _requires("content", "type")

    content: Json = _field("One sentence.", type="string", minLength=1)
    type: Json = _field("What kind of memory.", type="string", enum=[t.value for t in MemoryType])
    importance: Json = _field("0 to 1; what is usual for its type, if left out.", type="number", minimum=0, maximum=1)
