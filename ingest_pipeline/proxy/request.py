"""A chat request as it comes in: checked where we rely on it, otherwise left as it is for the upstream to judge."""

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from ingest_pipeline.direct import check_metadata
from ingest_pipeline.documents import Json
from ingest_pipeline.errors import InvalidInput
from ingest_pipeline.extraction.definitions import defined, given_definitions
from ingest_pipeline.extraction.traits import TraitSchema

MAX_MESSAGES = 100
MAX_MESSAGE_BYTES = 100_000
MAX_TOTAL_BYTES = 1_000_000
"""UTF-8 bytes of what a message carries, and of all messages together."""

ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
PROFILE_HEADER = "x-getprofile-id"

_MODEL = re.compile(r"(?!.*(?:\.\.|//))[\w.:@+-][\w.:@/+-]{0,199}", re.ASCII)
"""Neither a URL nor a path that leads elsewhere."""


@dataclass(frozen=True, slots=True)
class Options:
    """``getprofile`` of a request. ``traits`` are injected in place of the schema's; ``definitions`` are the same, as
    they are kept with what the user says."""

    skip_injection: bool = False
    skip_extraction: bool = False
    traits: TraitSchema | None = None
    definitions: str | None = None


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """``body`` is what goes upstream: without ``getprofile`` and ``metadata.profile_id``.

    ``profile`` is whom the body names: ``metadata.profile_id``, else ``user``.
    """

    body: dict[str, Json]
    profile: str | None
    metadata: dict[str, Json] = field(default_factory=dict)
    options: Options = field(default_factory=Options)

    @property
    def model(self) -> str:
        return str(self.body["model"])

    @property
    def messages(self) -> list[dict[str, Json]]:
        return list(self.body["messages"])

    @property
    def stream(self) -> bool:
        return bool(self.body.get("stream"))


def read_request(data: bytes, schema: TraitSchema) -> ChatRequest:
    """``schema``: the configured one, by which traits of the request's own are checked.

    Raises InvalidInput with the API's error code.
    """
    body = _load(data)
    _check_messages(body.get("messages"))
    model = body.get("model")
    if not isinstance(model, str) or not _MODEL.fullmatch(model):
        raise InvalidInput("missing_model", "model is required and must be the name of a model", "model")
    if not isinstance(body.get("stream", False), bool | None):
        raise InvalidInput("invalid_stream", "stream must be true or false", "stream")
    options = _options(body.pop("getprofile", None), schema)
    metadata = body.pop("metadata", None) or {}
    check_metadata(metadata)
    named = metadata.pop("profile_id", None)
    if metadata:
        body["metadata"] = metadata
    return ChatRequest(body, _named(named) or _named(body.get("user")), metadata, options)


def find_reference(request: ChatRequest, headers: Mapping[str, str]) -> str:
    """Whom the request is about. Raises InvalidInput (``missing_user_id``)."""
    reference = _named(header_text(headers.get(PROFILE_HEADER, ""))) or request.profile
    if reference is None:
        raise InvalidInput(
            "missing_user_id", "say who the user is: the header X-GetProfile-Id, metadata.profile_id or user", "user"
        )
    return reference


def header_text(value: str) -> str:
    """A header's value, which clients write in UTF-8 and servers read as Latin-1."""
    try:
        return value.encode("latin-1").decode()
    except UnicodeError:
        return value


def _load(data: bytes) -> dict[str, Json]:
    try:
        body = json.loads(data)
        # What no upstream could be sent: half a surrogate pair, infinite numbers.
        json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        raise InvalidInput("invalid_json", "the body must be a JSON object") from None
    if not isinstance(body, dict):
        raise InvalidInput("invalid_json", "the body must be a JSON object")
    return body


def _check_messages(messages: Json) -> None:
    if not isinstance(messages, list) or not messages:
        raise InvalidInput("missing_messages", "messages is required and must be a non-empty list", "messages")
    if len(messages) > MAX_MESSAGES:
        raise InvalidInput("too_many_messages", f"more than {MAX_MESSAGES} messages", "messages")
    total = 0
    for number, message in enumerate(messages):
        place = f"messages[{number}]"
        if not _is_message(message):
            raise InvalidInput(
                "invalid_message_format",
                f"{place} must have a role ({', '.join(sorted(ROLES))}) and text or a list of parts as its content",
                place,
            )
        size = len(carried(message).encode())
        if size > MAX_MESSAGE_BYTES:
            raise InvalidInput("message_too_large", f"{place} exceeds {MAX_MESSAGE_BYTES:,} bytes", place)
        total += size
    if total > MAX_TOTAL_BYTES:
        raise InvalidInput("total_size_too_large", f"the messages exceed {MAX_TOTAL_BYTES:,} bytes", "messages")


def _is_message(message: Json) -> bool:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str) or message["role"] not in ROLES:
        return False
    content = message.get("content")
    if content is None:  # an assistant that calls a tool says nothing
        return bool(message["role"] == "assistant")
    if isinstance(content, list):
        return all(isinstance(part, dict) and isinstance(part.get("type"), str) for part in content)
    return isinstance(content, str)


def carried(message: Mapping[str, Json]) -> str:
    """Everything that a message brings, in a row: what its size is measured by."""
    values = (value for name, value in message.items() if name != "role" and value is not None)
    return "".join(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for value in values)


def _named(value: Json) -> str | None:
    return value.strip() or None if isinstance(value, str) else None


def _options(given: Json, schema: TraitSchema) -> Options:
    if given is None:
        return Options()
    if not isinstance(given, dict):
        raise _invalid_options("getprofile must be an object")
    skip_injection, skip_extraction = given.get("skipInjection", False), given.get("skipExtraction", False)
    if not isinstance(skip_injection, bool) or not isinstance(skip_extraction, bool):
        raise _invalid_options("skipInjection and skipExtraction must be true or false")
    try:
        definitions = given_definitions(given.get("traits"), schema)
    except InvalidInput as error:
        raise _invalid_options(str(error)) from None
    traits = TraitSchema(defined(definitions), schema.sensitive) if definitions else None
    return Options(skip_injection, skip_extraction, traits, definitions)


def _invalid_options(message: str) -> InvalidInput:
    return InvalidInput("invalid_getprofile_options", message, "getprofile")


def check_model(request: ChatRequest, models: Collection[str]) -> None:
    """Raises InvalidInput (``model_not_found``) for one that is not among those offered; none listed: all are."""
    if models and request.model not in models:
        raise InvalidInput(
            "model_not_found", "this model is not offered here; GET /v1/models lists those that are", "model"
        )
