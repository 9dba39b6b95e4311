"""Receiving many texts in one request: bytes ─▶ lines ─▶ texts of known profiles, or the reason why not ─▶ the store.

Memory holds a page of lines, whatever the body's size.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from ingest_pipeline.api.bodies import BatchLine
from ingest_pipeline.api.requests import text_request
from ingest_pipeline.direct import TextRequest, check_request, wanted
from ingest_pipeline.errors import InvalidInput
from ingest_pipeline.extraction.definitions import given_definitions
from ingest_pipeline.pipeline import Pipeline
from ingest_pipeline.store.engine import reading
from ingest_pipeline.store.lookup import storable
from ingest_pipeline.store.resolving import find_profiles
from ingest_pipeline.store.texts import GivenText
from ingest_pipeline.store.uploads import LineFailure, begin_upload, end_receiving, store_lines

MAX_LINE_BYTES = 1_000_000
"""As for the body of one text: JSON may write a byte of text as six."""

PAGE_LINES = 500
PAGE_BYTES = 4_000_000

Line = tuple[int, bytes | None]
"""Its number, counted from 1, and its bytes; None for one that is too long."""


class Lines:
    """Cuts a body into lines as it comes; ``feed`` then ``rest``. Empty lines are counted and left out."""

    def __init__(self) -> None:
        self._number = 0
        self._begun = bytearray()
        self._is_too_long = False

    def feed(self, chunk: bytes) -> Iterator[Line]:
        *ended, begun = chunk.split(b"\n")
        for part in ended:
            self._add(part)
            yield from self._end()
        self._add(begun)

    def rest(self) -> Iterator[Line]:
        """The last line, which need not end in a line break."""
        yield from self._end()

    def _add(self, part: bytes) -> None:
        if self._is_too_long or len(self._begun) + len(part) > MAX_LINE_BYTES:
            self._is_too_long = True
            self._begun.clear()
        else:
            self._begun += part

    def _end(self) -> Iterator[Line]:
        self._number += 1
        line = bytes(self._begun).strip()
        if self._number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if self._is_too_long:
            yield self._number, None
        elif line:
            yield self._number, line
        self._begun.clear()
        self._is_too_long = False


class Receiver:
    """One upload while it is received. ``upload_id`` is None as long as nothing was stored."""

    def __init__(self, pipeline: Pipeline, actor: str) -> None:
        self._pipeline, self._actor = pipeline, actor
        self.upload_id: str | None = None

    def store(self, lines: Sequence[Line]) -> None:
        """Store the lines, or why not, in one transaction."""
        if not lines:
            return
        if self.upload_id is None:
            self.upload_id = begin_upload(self._pipeline.engine, self._actor)
        requests: dict[int, _Request] = {}
        rejected = []
        for number, line in lines:
            try:
                requests[number] = self._read(line)
            except InvalidInput as error:
                rejected.append(LineFailure(number, error.code, str(error)))
        texts, unknown = self._resolve(requests)
        store_lines(self._pipeline.engine, self.upload_id, texts, rejected + unknown)

    def _read(self, line: bytes | None) -> "_Request":
        """The profile that is meant, and the text. Raises InvalidInput."""
        body = _body(line)
        if not isinstance(body.profile, str) or not storable(body.profile):
            raise InvalidInput("invalid_profile", "profile must be an id, an external id or an identifier", "profile")
        request = text_request(body)
        check_request(request)
        return _Request(body.profile, request, given_definitions(request.traits, self._pipeline.schema))

    def _resolve(self, requests: Mapping[int, "_Request"]) -> tuple[dict[int, GivenText], list[LineFailure]]:
        with reading(self._pipeline.engine) as connection:
            profiles = find_profiles(connection, {request.profile for request in requests.values()})
        texts, unknown = {}, []
        for number, request in requests.items():
            profile = profiles[request.profile]
            if isinstance(profile, InvalidInput):
                unknown.append(LineFailure(number, profile.code, str(profile)))
            else:
                texts[number] = _given(profile, request)
        return texts, unknown

    def end(self) -> None:
        """What was stored is extracted from now on."""
        if self.upload_id is not None:
            end_receiving(self._pipeline.engine, self.upload_id)


@dataclass(frozen=True, slots=True)
class _Request:
    profile: str
    text: TextRequest
    definitions: str | None


def _body(line: bytes | None) -> BatchLine:
    if line is None:
        raise InvalidInput("data_too_large", f"the line exceeds {MAX_LINE_BYTES:,} bytes")
    try:
        value = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InvalidInput("invalid_json", "the line must be a JSON object")
    return BatchLine.model_validate(value)


def _given(profile_id: str, request: _Request) -> GivenText:
    text = request.text
    occurred_at = text.occurred_at or datetime.now(UTC)
    return GivenText(profile_id, text.data, occurred_at, text.source, text.metadata, wanted(text), request.definitions)
