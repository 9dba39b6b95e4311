"""Trait definitions that are given with a text, and what they change.

    a list of trait schemas ─given_definitions─▶ canonical JSON, kept on the document
        extraction of that document    overlaid: the schema's traits and these; of one key, these hold
        fold of its profile            extended: the schema's traits and these; of one key, the schema's hold

They are part of the document, as its text is: so extraction and fold stay functions of what is stored.
"""

import json
import re
from collections.abc import Iterable
from functools import lru_cache

from ingest_pipeline.documents import Json
from ingest_pipeline.errors import InvalidInput, TraitSchemaError
from ingest_pipeline.extraction.traits import Trait, TraitSchema, parse_traits
from ingest_pipeline.store.lookup import storable

MAX_GIVEN = 100
"""Traits with one text; the schema's own come on top."""

MAX_BYTES = 65_536


def given_definitions(given: Json, schema: TraitSchema) -> str | None:
    """A caller's list, checked as the trait schema's file is. Raises InvalidInput (``invalid_trait_schema``)."""
    if given is None:
        return None
    if not isinstance(given, list) or len(given) > MAX_GIVEN:
        raise _invalid(f"traits must be a list of 1 to {MAX_GIVEN} trait schemas")
    try:
        checked = parse_traits({"sensitive": [each.value for each in schema.sensitive], "traits": given})
        text = _written(checked.traits)
    except (TraitSchemaError, ValueError, RecursionError) as error:
        raise _invalid(str(error) if isinstance(error, TraitSchemaError) else "traits must be JSON") from None
    if not storable(text) or _ESCAPED_NUL.search(text):
        raise _invalid("traits holds NUL or half a surrogate pair, which no database stores")
    if len(text.encode()) > MAX_BYTES:
        raise _invalid(f"traits exceeds {MAX_BYTES:,} bytes")
    return text


_ESCAPED_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


def _invalid(message: str) -> InvalidInput:
    return InvalidInput("invalid_trait_schema", message, "traits")


def _written(traits: Iterable[Trait]) -> str:
    """The same for the same definitions, in whatever order; with all defaults, which another version may change."""
    entries = [trait.model_dump(mode="json", by_alias=True) for trait in sorted(traits, key=lambda trait: trait.key)]
    return json.dumps(entries, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))


@lru_cache(maxsize=256)
def defined(text: str) -> tuple[Trait, ...]:
    """The definitions that ``given_definitions`` wrote."""
    # Through JSON text, because pydantic's strict mode takes a list for a tuple only there.
    return tuple(Trait.model_validate_json(json.dumps(entry)) for entry in json.loads(text))


def merged(earlier: str | None, later: str | None) -> str | None:
    """What two calls with one text define together; of one key the later holds. Too much for one text: the later's."""
    if earlier is None or later is None or earlier == later:
        return later or earlier
    traits = {trait.key: trait for trait in (*defined(earlier), *defined(later))}
    text = _written(traits.values())
    return text if len(traits) <= MAX_GIVEN and len(text.encode()) <= MAX_BYTES else later


def overlaid(schema: TraitSchema, definitions: str | None) -> TraitSchema:
    """The traits that are asked for in a document with these definitions."""
    if definitions is None:
        return schema
    traits = {trait.key: trait for trait in (*schema.traits, *_allowed(schema, definitions))}
    return TraitSchema(tuple(traits.values()), schema.sensitive)


def extended(schema: TraitSchema, definitions: Iterable[str]) -> TraitSchema:
    """The traits that a profile may have whose documents have these definitions, the latest document's last."""
    added = {trait.key: trait for text in definitions for trait in _allowed(schema, text) if not schema.get(trait.key)}
    return TraitSchema((*schema.traits, *added.values()), schema.sensitive) if added else schema


def _allowed(schema: TraitSchema, definitions: str) -> Iterable[Trait]:
    """What is sensitive is asked for only as long as the schema's file says so."""
    return (t for t in defined(definitions) if t.sensitive_category is None or t.sensitive_category in schema.sensitive)
