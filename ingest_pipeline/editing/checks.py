"""What may be written by hand. Each check returns what is stored, or raises InvalidInput with the HTTP API's code."""

import math
from collections.abc import Iterable

from ingest_pipeline.documents import Json
from ingest_pipeline.edits import claim_key
from ingest_pipeline.errors import InvalidInput
from ingest_pipeline.extraction.base import MemoryType
from ingest_pipeline.extraction.traits import Trait, TraitSchema, ValueRejected, normalise_value
from ingest_pipeline.store.lookup import UNSTORABLE, storable

MAX_VALUE = 1_000
"""Characters of a trait's value, or of an element."""

MAX_ELEMENTS = 200
MAX_CONTENT = 2_000
MAX_SUMMARY = 10_000


def check_value(schema: TraitSchema, key: str, value: Json) -> Json:
    """The canonical value of a trait, for an array trait the list without repetitions.

    Codes: ``trait_not_found``, ``missing_value``, ``invalid_value_type``.
    """
    trait = schema.get(key)
    if trait is None:
        raise unknown_trait(schema)
    if value is None:
        raise InvalidInput("missing_value", "value is required", "value")
    if trait.value_type != "array":
        return check_element(trait, value)
    if not isinstance(value, list) or not 0 < len(value) <= MAX_ELEMENTS:
        raise _wrong_value(trait)
    return distinct(check_element(trait, element) for element in value)


def check_element(trait: Trait, value: Json) -> Json:
    """One canonical value, or one element of an array trait. Code: ``invalid_value_type``."""
    try:
        canonical = normalise_value(trait, value)
    except ValueRejected:
        raise _wrong_value(trait) from None
    if isinstance(canonical, str):
        _check_storable(canonical, "invalid_value_type", "value")
    if isinstance(canonical, str) and len(canonical) > MAX_VALUE:
        raise InvalidInput("invalid_value_type", f"{trait.key} takes at most {MAX_VALUE:,} characters", "value")
    if isinstance(canonical, int) and abs(canonical) >= 2**63:
        raise InvalidInput("invalid_value_type", f"{trait.key} takes a number of at most 18 digits", "value")
    return canonical


def distinct(values: Iterable[Json]) -> list[Json]:
    """Without those that differ by spelling only; the first spelling stays."""
    found: dict[str, Json] = {}
    for value in values:
        found.setdefault(claim_key(value), value)
    return list(found.values())


def unknown_trait(schema: TraitSchema) -> InvalidInput:
    known = ", ".join(trait.key for trait in schema.traits)
    return InvalidInput("trait_not_found", f"the trait schema has no such trait; it has: {known}", "key")


def _wrong_value(trait: Trait) -> InvalidInput:
    """What the trait takes, in words; never the value itself."""
    takes = {
        "string": "a text",
        "number": "a number",
        "boolean": "true or false",
        "enum": f"one of {', '.join(trait.enum_values)}",
        "array": f'a JSON array of 1 to {MAX_ELEMENTS} texts, such as ["first", "second"]',
    }
    return InvalidInput("invalid_value_type", f"{trait.key} takes {takes[trait.value_type]}", "value")


def check_confidence(confidence: Json) -> float | None:
    """Code: ``invalid_confidence``."""
    return _share(confidence, "confidence")


def check_importance(importance: Json) -> float | None:
    """Code: ``invalid_importance``."""
    return _share(importance, "importance")


def _share(share: Json, name: str) -> float | None:
    if share is None:
        return None
    if isinstance(share, bool) or not isinstance(share, int | float) or not (math.isfinite(share) and 0 <= share <= 1):
        raise InvalidInput(f"invalid_{name}", f"{name} must be a number from 0 to 1", name)
    return float(share)


def check_memory_type(kind: Json) -> MemoryType:
    """Code: ``invalid_memory_type``."""
    try:
        return MemoryType(kind)
    except ValueError:
        known = ", ".join(MemoryType)
        raise InvalidInput("invalid_memory_type", f"a memory's type is one of {known}", "type") from None


def check_content(content: Json) -> str:
    """A memory's sentence on one line. Code: ``invalid_content``."""
    sentence = " ".join(content.split()) if isinstance(content, str) else ""
    _check_storable(sentence, "invalid_content", "content")
    if not claim_key(sentence) or len(sentence) > MAX_CONTENT:
        raise InvalidInput("invalid_content", f"content must be a text of 1 to {MAX_CONTENT:,} characters", "content")
    return sentence


def check_summary(text: Json) -> str:
    """Codes: ``missing_summary``, ``invalid_summary``."""
    if text is None:
        raise InvalidInput("missing_summary", "summary is required", "summary")
    if isinstance(text, str):
        _check_storable(text, "invalid_summary", "summary")
    if not isinstance(text, str) or not text.strip() or len(text) > MAX_SUMMARY:
        raise InvalidInput("invalid_summary", f"summary must be a text of 1 to {MAX_SUMMARY:,} characters", "summary")
    return text.strip()


def refuse_value(value: Json) -> None:
    """A value stands for part of a trait; a memory is one sentence. Code: ``invalid_value_type``."""
    if value is not None:
        raise InvalidInput("invalid_value_type", "a value is only for traits", "value")


def _check_storable(text: str, code: str, name: str) -> None:
    if not storable(text):
        raise InvalidInput(code, UNSTORABLE.format(name), name)
