"""The calls of the API as a page: the OpenAPI document, for people, without anything from elsewhere."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from ingest_pipeline.api.pages.rendering import page
from ingest_pipeline.api.pages.visits import Visited
from ingest_pipeline.documents import Json

router = APIRouter(include_in_schema=False)

MAX_DEPTH = 4
"""How far the fields of an answer are spelled out."""


@dataclass(frozen=True, slots=True)
class Field:
    """A parameter or a field of a body; ``name`` with where it is in it."""

    name: str
    kind: str
    required: bool
    said: str


@dataclass(frozen=True, slots=True)
class Answer:
    status: str
    said: str
    fields: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class Operation:
    """One call. ``example``: of its body."""

    id: str
    method: str
    path: str
    said: str
    parameters: tuple[Field, ...]
    body: tuple[Field, ...]
    example: str | None
    answers: tuple[Answer, ...]


@router.get("/docs")
def calls(request: Request, visit: Visited) -> Response:
    document = request.app.openapi()
    groups: dict[str, list[Operation]] = {}
    for operation, group in read_operations(document):
        groups.setdefault(group, []).append(operation)
    return page(request, visit, "calls.html", groups=groups, version=document["info"]["version"])


def read_operations(document: Mapping[str, Any]) -> Iterator[tuple[Operation, str]]:
    """Every call with the name of its group."""
    schemas = document["components"]["schemas"]
    for path, operations in document["paths"].items():
        for method, entry in operations.items():
            content: Mapping[str, Any] = next(iter(entry.get("requestBody", {}).get("content", {}).values()), {})
            yield (
                Operation(
                    id=entry["operationId"],
                    method=method.upper(),
                    path=path,
                    said=entry.get("description", entry.get("summary", "")),
                    parameters=tuple(_parameter(each, schemas) for each in entry.get("parameters", ())),
                    body=tuple(_fields(content.get("schema", {}), schemas)),
                    example=_written(content.get("example")),
                    answers=tuple(_answer(status, each, schemas) for status, each in entry["responses"].items()),
                ),
                entry.get("tags", ["other"])[0],
            )


def _written(example: Json) -> str | None:
    if example is None or isinstance(example, str):
        return example
    return json.dumps(example, indent=2, ensure_ascii=False)


def _parameter(entry: Mapping[str, Any], schemas: Mapping[str, Any]) -> Field:
    schema = entry.get("schema", {})
    place = {"path": "in the path", "query": "in the query", "header": "a header"}[entry["in"]]
    said = _sentences(place, entry.get("description", ""), _limits(schema))
    return Field(entry["name"], _kind(schema, schemas), entry.get("required", False), said)


def _answer(status: str, entry: Mapping[str, Any], schemas: Mapping[str, Any]) -> Answer:
    schema = entry.get("content", {}).get("application/json", {}).get("schema", {})
    is_good = status.startswith("2")
    return Answer(status, entry.get("description", ""), tuple(_fields(schema, schemas)) if is_good else ())


def _fields(schema: Mapping[str, Any], schemas: Mapping[str, Any], within: str = "", depth: int = 0) -> Iterator[Field]:
    schema = _resolved(schema, schemas)
    if schema.get("type") == "array":
        yield from _fields(schema.get("items", {}), schemas, f"{within}[]", depth)
    for name, entry in schema.get("properties", {}).items():
        place = f"{within}.{name}" if within else name
        said = _sentences(entry.get("description", ""), _limits(entry))
        yield Field(place, _kind(entry, schemas), name in schema.get("required", ()), said)
        if depth < MAX_DEPTH:
            yield from _fields(entry, schemas, place, depth + 1)


def _resolved(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a reference, or what may also be null, is about."""
    if "$ref" in schema:
        found: Mapping[str, Any] = schemas[schema["$ref"].rpartition("/")[2]]
        return found
    some = [each for each in schema.get("anyOf", ()) if each.get("type") != "null"]
    return _resolved(some[0], schemas) if len(some) == 1 else schema


def _kind(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    or_null = " or null" if any(each.get("type") == "null" for each in schema.get("anyOf", ())) else ""
    plain = _resolved(schema, schemas)
    if plain.get("type") == "array":
        return f"list of {_kind(plain.get('items', {}), schemas)}{or_null}"
    return f"{plain.get('format', plain.get('type', 'any'))}{or_null}"


def _sentences(*parts: str) -> str:
    return " ".join(f"{part[:1].upper()}{part[1:].removesuffix('.')}." for part in parts if part)


def _limits(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return f"one of {', '.join(map(str, schema['enum']))}"
    said = {"minimum": "at least", "maximum": "at most", "default": "default"}
    given = ((words, schema[name]) for name, words in said.items() if schema.get(name) not in (None, ""))
    return ", ".join(f"{words} {value if isinstance(value, str) else json.dumps(value)}" for words, value in given)
