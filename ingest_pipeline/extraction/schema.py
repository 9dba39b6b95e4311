"""The model's output: its JSON schema, and reading what models make of it.

    {"documents": [{"document": "D1", "traits": [Trait…], "memories": [Memory…]}…]}

Items are grouped by the document that they cite, and every document asked about must be listed, so that one which the
model skipped is noticed.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import json_repair
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from ingest_pipeline.extraction.base import MemoryType
from ingest_pipeline.extraction.sensitive import Sensitive
from ingest_pipeline.extraction.traits import TraitSchema
from ingest_pipeline.llm.exchange import AnswerFormat, InvalidAnswer

SCHEMA_VERSION = "2"
"""Part of the extractor's fingerprint; raise it when the output's shape or its reading changes."""

Item = TypeVar("Item", bound="_Item")


class _Item(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    quote: str
    about: Literal["subject", "other", "unclear"]
    confidence: float = Field(allow_inf_nan=False)
    retracted: bool = False
    date_phrase: str | None = None
    sensitive: str | None = None

    @field_validator("confidence", "importance", mode="after", check_fields=False)
    @classmethod
    def _share(cls, value: float) -> float:
        return min(max(value, 0.0), 1.0)


class TraitItem(_Item):
    """``value``: one element for an array trait."""

    key: str
    value: str | bool | int | float | list[str]


class MemoryItem(_Item):
    type: str
    content: str
    importance: float = Field(allow_inf_nan=False)


@dataclass
class DocumentItems:
    """What the answer has for one document."""

    traits: list[TraitItem] = field(default_factory=list)
    memories: list[MemoryItem] = field(default_factory=list)


@dataclass
class Answer:
    """Items by document reference. ``missing``: asked about and not listed. ``dropped``: items of no use, by reason."""

    documents: dict[str, DocumentItems] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    dropped: dict[str, Counter[str]] = field(default_factory=dict)


def answer_format(schema: TraitSchema) -> AnswerFormat:
    """The JSON schema for these traits, in the subset that strict modes accept: every property required, no bounds."""
    keys = [trait.key for trait in schema.traits if trait.extraction.enabled]
    nullable = {"type": ["string", "null"]}
    common = {
        "quote": {"type": "string"},
        "about": {"type": "string", "enum": ["subject", "other", "unclear"]},
        "confidence": {"type": "number"},
        "retracted": {"type": "boolean"},
        "date_phrase": nullable,
        "sensitive": {"type": ["string", "null"], "enum": [*(each.value for each in Sensitive), None]},
    }
    value = {"anyOf": [{"type": "string"}, {"type": "number"}, {"type": "boolean"}]}
    trait = _object({"key": {"type": "string", "enum": keys}, "value": value, **common})
    kinds = [kind.value for kind in MemoryType]
    memory = _object(
        {
            "type": {"type": "string", "enum": kinds},
            "content": {"type": "string"},
            "importance": {"type": "number"},
            **common,
        }
    )
    document = _object(
        {
            "document": {"type": "string"},
            "traits": {"type": "array", "items": trait},
            "memories": {"type": "array", "items": memory},
        }
    )
    return AnswerFormat("profile_facts", _object({"documents": {"type": "array", "items": document}}))


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def read_answer(text: str, references: Sequence[str]) -> Answer:
    """The items of an answer. Raises InvalidAnswer when it is cut off, no JSON, or fits in no part."""
    data = _load(text)
    listed = data.get("documents") if isinstance(data, dict) else None
    if not isinstance(listed, list):
        raise InvalidAnswer('the answer must be one JSON object {"documents": [...]}')
    answer = Answer()
    for entry in listed:
        reference = _reference(entry, references)
        if reference is None:
            continue
        items = answer.documents.setdefault(reference, DocumentItems())
        dropped = answer.dropped.setdefault(reference, Counter())
        items.traits += _items(TraitItem, entry.get("traits"), dropped)
        items.memories += _items(MemoryItem, entry.get("memories"), dropped)
    answer.missing = tuple(reference for reference in references if reference not in answer.documents)
    if len(answer.missing) == len(references):
        raise InvalidAnswer(f"the answer must list each of these documents: {', '.join(references)}")
    _check_salvage(answer)
    return answer


def _check_salvage(answer: Answer) -> None:
    """Some unusable items are dropped and counted; when nothing is left of a document, that is no result."""
    for reference, dropped in answer.dropped.items():
        items = answer.documents[reference]
        if dropped and not items.traits and not items.memories:
            raise InvalidAnswer(f"no item of {reference} has the required fields with the required types")


def _load(text: str) -> Any:
    body = _without_fence(text)
    try:
        return json.loads(body, strict=False)
    except json.JSONDecodeError as error:
        # Repair would accept what is left of a cut string as if it were the whole.
        if error.pos >= len(body) or error.msg.startswith("Unterminated string") or not body.endswith(("}", "]")):
            raise InvalidAnswer("the answer ends before its JSON is complete") from error
    except RecursionError as error:
        raise InvalidAnswer("the answer is nested too deeply") from error
    repaired = json_repair.loads(body)
    if not isinstance(repaired, dict):
        raise InvalidAnswer("the answer is not JSON")
    return repaired


_FENCE = re.compile(r"```(?:json)?\s*\n(.*?)\n?\s*```", re.S)


def _without_fence(text: str) -> str:
    """The JSON without a code fence or a sentence around it."""
    fenced = _FENCE.search(text)
    body = (fenced[1] if fenced else text).strip()
    start = body.find("{")
    if start > 0 and not body.startswith("["):
        body = body[start:]
        end = body.rfind("}")
        body = body[: end + 1] if end > 0 else body
    return body


def _reference(entry: Any, references: Sequence[str]) -> str | None:
    if not isinstance(entry, dict):
        return None
    name = str(entry.get("document", "")).strip().upper()
    if name in references:
        return name
    # One document asked about: whatever the model calls it, it can mean no other.
    return references[0] if len(references) == 1 else None


def _items(model: type[Item], entries: Any, dropped: Counter[str]) -> list[Item]:
    if entries is None:
        return []
    if not isinstance(entries, list):
        dropped["invalid_item"] += 1
        return []
    items = []
    for entry in entries:
        try:
            items.append(model.model_validate(entry))
        except ValidationError:
            dropped["invalid_item"] += 1
    return items
