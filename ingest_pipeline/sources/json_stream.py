"""Reads JSON texts of any size: a cursor that goes into objects and arrays and decodes one element at a time.

Elements are decoded by msgspec into structs that name only what is used, several times as fast as ``json.loads`` makes
dicts. What it refuses (NaN, lone surrogates, another type, a damaged element) is read one by one with the standard
library, so that one bad element costs only itself. The last of duplicate keys holds.
"""

import codecs
import json
import re
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, BinaryIO, TypeVar, cast

import msgspec

from ingest_pipeline.documents import Json

CHUNK_BYTES = 1 << 18
MAX_VALUE_CHARS = 64_000_000
"""Of one element: a longer one is passed over. The longest ChatGPT conversations have some 20 million."""

Kind = TypeVar("Kind")

TOO_DEEP = "JSON nested too deeply"
NOT_JSON = "not valid JSON"

_SPACE = re.compile(r"[ \t\r\n]*")
_SCALAR = r'(?:"[^"\\]{0,1000}"|[^\s"{}\[\],]{1,100})'
_FIRST_KEYS = re.compile(rf'\{{\s*"([^"\\]{{1,100}})"\s*:(?:\s*{_SCALAR}\s*,\s*"([^"\\]{{1,100}})"\s*:)?')
_STRUCTURE = re.compile(r'["{}\[\],]')
_BRACKETS = re.compile(r'["{}\[\]]')
_MAY_GO_ON = re.compile(r"[-+.eE0-9]*\Z")
_STRING_PART = re.compile(r'["\\]')
# Control characters inside strings are read; whoever uses the text takes them out.
_DECODER = json.JSONDecoder(strict=False)
_LONGEST_TOKEN = 16
_TAIL_CHARS = 50_000


class NotJson(ValueError):
    """A text that is not JSON; the message is the reason."""


@dataclass(frozen=True, slots=True)
class Broken:
    """An element that could not be decoded and was passed over."""

    reason: str


def parse_json(data: bytes | str) -> Json:
    """The value of one JSON text, as ``json.loads`` reads it. Raises NotJson."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        pass
    try:
        text = data if isinstance(data, str) else data.decode(json.detect_encoding(data), "surrogateescape")
        return _DECODER.decode(text)
    except RecursionError:
        raise NotJson(TOO_DEEP) from None
    except ValueError:
        raise NotJson(NOT_JSON) from None


def parse_list(data: bytes, kind: type[Kind]) -> list[Kind | Broken]:
    """The elements of one JSON array. Raises NotJson when it is none."""
    try:
        return cast("list[Kind | Broken]", _list_decoder(cast("Hashable", kind)).decode(data))
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        pass
    values = parse_json(data)
    if not isinstance(values, list):
        raise NotJson("a JSON list was expected")
    return [converted(value, kind) for value in values]


def converted(value: Json | Broken, kind: type[Kind]) -> Kind | Broken:
    """The struct for a decoded value. The reason why there is none names fields and types, no content.

    Fields that the struct names in ``SPARE`` are left out when they are not as expected.
    """
    if isinstance(value, Broken):
        return value
    try:
        return msgspec.convert(value, kind)
    except UnicodeEncodeError:  # a key that is no text
        return Broken(NOT_JSON)
    except msgspec.ValidationError as error:
        spare = getattr(kind, "SPARE", ())
        if isinstance(value, dict) and any(name in value for name in spare):
            return converted({key: each for key, each in value.items() if key not in spare}, kind)
        return Broken(str(error))


@cache
def _list_decoder(kind: Hashable) -> "msgspec.json.Decoder[list[Any]]":
    return msgspec.json.Decoder(list[kind])  # type: ignore[valid-type]


@lru_cache(maxsize=64)
def _boundary(first: str, second: str | None) -> re.Pattern[str]:
    """The comma before an object whose first keys are these (only the first one when the second is None)."""
    more = rf'\s*{_SCALAR}\s*,\s*"{re.escape(second)}"\s*:' if second is not None else ""
    return re.compile(rf',(?=\s*\{{\s*"{re.escape(first)}"\s*:{more})')


class JsonCursor:
    """Stands before one value of a JSON text. Every value is taken once: by ``members``, ``elements``, ``entries``,
    ``value`` or ``skip``; in ``members`` and ``entries`` one that is left alone is passed over.

    When the text cannot be followed any further all of them end, and ``problem`` says why. Holds one element.
    """

    def __init__(self, stream: BinaryIO) -> None:
        first = stream.read(CHUNK_BYTES)
        charset = json.detect_encoding(first[:4]) if first else "utf-8"
        # The decoders of UTF-16 and UTF-32 escape nothing.
        self._decoder = codecs.getincrementaldecoder(charset)("surrogateescape" if "utf-8" in charset else "replace")
        self._stream = stream
        self._text = self._decoder.decode(first)
        self._at = 0
        self._dropped = 0
        self._ended = not first
        self._one_by_one_until = 0
        self.problem: str | None = None

    @property
    def position(self) -> int:
        """Characters before the cursor."""
        return self._dropped + self._at

    def peek(self) -> str:
        """The value's first character; ``""`` when there is none."""
        while not self.problem:
            match = _SPACE.match(self._text, self._at)
            self._at = match.end() if match else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._fill():
                break
        return ""

    def members(self) -> Iterator[str]:
        """The keys of the object; at each of them the cursor stands before the value. None when it is no object."""
        if self.peek() != "{":
            return
        self._at += 1
        while (char := self.peek()) != "}":
            if char == ",":
                self._at += 1
                continue
            key = self._value() if char == '"' else None
            if not isinstance(key, str) or self.peek() != ":":
                self._stop()
                return
            self._at += 1
            self.peek()
            before = self.position
            yield key
            if not self._go_on(before):
                return
        self._at += 1

    def entries(self) -> Iterator[int]:
        """Stands before each element of the array in turn; gives their numbers, from 1."""
        if self.peek() != "[":
            return
        self._at += 1
        number = 0
        while (char := self.peek()) != "]":
            if char == ",":
                self._at += 1
                continue
            if not char:
                self._stop()
                return
            number += 1
            before = self.position
            yield number
            if not self._go_on(before):
                return
        self._at += 1

    def _go_on(self, before: int) -> bool:
        """Passes over the value when nobody took it. False when nothing can be read any more."""
        if self.position == before and not self.problem:
            self.skip()
            if self.position == before:
                self._stop()
        return self.problem is None

    def elements(self, kind: type[Kind]) -> Iterator[Kind | Broken]:
        """The decoded elements of the array; none when it is no array."""
        if self.peek() != "[":
            return
        self._at += 1
        while (char := self.peek()) != "]":
            if char == ",":
                self._at += 1
            elif not char:
                self._stop()
                return
            elif run := self._run(kind):
                yield from run
            else:
                value = converted(self._value(), kind)
                if self.problem:
                    return
                yield value
        self._at += 1

    def value(self) -> Json | Broken:
        """The decoded value at the cursor."""
        return self._value() if self.peek() else Broken(NOT_JSON)

    def struct(self, kind: type[Kind]) -> Kind | Broken:
        """The value at the cursor as a struct."""
        return converted(self.value(), kind)

    def skip(self) -> None:
        """Pass over the value at the cursor without decoding it, whatever its size."""
        depth = 0
        self.peek()
        while not self.problem:
            match = (_BRACKETS if depth else _STRUCTURE).search(self._text, self._at)
            if match is None:
                self._at = len(self._text)
                if not self._fill():
                    self._stop()
                continue
            char = match[0]
            if not depth and char in "]},":
                self._at = match.start()
                return
            self._at = match.end()
            if char == '"':
                self._skip_string()
            else:
                depth += 1 if char in "{[" else -1
            if not depth:
                return

    def _skip_string(self) -> None:
        while not self.problem:
            match = _STRING_PART.search(self._text, self._at)
            if match is not None and match[0] == '"':
                self._at = match.end()
                return
            if match is not None and match.end() < len(self._text):
                self._at = match.end() + 1
                continue
            self._at = match.start() if match is not None else len(self._text)
            if not self._fill():
                self._at = len(self._text)
                self._stop()

    def _run(self, kind: type[Kind]) -> list[Kind]:
        """Elements from the cursor on that are decoded together; empty when they have to be taken one by one.

        A run ends where, as far as can be seen, an element begins that has the first keys of the one at the cursor.
        When it does not decode, that was no beginning, or an element is damaged: both is found out one by one.
        """
        if self.position < self._one_by_one_until:
            return []
        if len(self._text) - self._at < CHUNK_BYTES // 2:
            self._fill()
        keys = _FIRST_KEYS.match(self._text, self._at)
        end = self._last_comma(_boundary(keys[1], keys[2])) if keys else -1
        if end < 0:
            return []
        try:
            run: list[Kind] = _list_decoder(cast("Hashable", kind)).decode(f"[{self._text[self._at : end]}]")
        except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
            self._one_by_one_until = self._dropped + end
            return []
        self._at = end
        return run

    def _last_comma(self, boundary: re.Pattern[str]) -> int:
        for start in (max(self._at + 1, len(self._text) - _TAIL_CHARS), self._at + 1):
            last = -1
            for match in boundary.finditer(self._text, start):
                last = match.start()
            if last >= 0:
                return last
        return -1

    def _value(self) -> Json | Broken:
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
                # The text at hand may end within a number ("1e" of "1e+16").
                if not _MAY_GO_ON.match(self._text, end) or not self._fill():
                    self._at = min(end, len(self._text))
                    return value
            except RecursionError:
                return self._passed_over(TOO_DEEP)
            except json.JSONDecodeError as error:
                cut_off = error.pos > len(self._text) - _LONGEST_TOKEN or error.msg.startswith("Unterminated")
                if len(self._text) - self._at > MAX_VALUE_CHARS:
                    return self._passed_over(f"larger than {MAX_VALUE_CHARS} characters")
                if not cut_off or not self._fill(len(self._text) - self._at):
                    return self._passed_over(NOT_JSON)
            except ValueError:  # a number of more than 4,300 digits
                return self._passed_over(NOT_JSON)

    def _passed_over(self, reason: str) -> Broken:
        before = self.position
        self.skip()
        if self.position == before:
            self._stop()
        return Broken(reason)

    def _fill(self, at_least: int = 0) -> bool:
        """Read on, dropping what is before the cursor. False at the end of the file."""
        if self._ended:
            return False
        data = self._stream.read(max(CHUNK_BYTES, at_least))
        self._ended = not data
        self._dropped += self._at
        self._text = self._text[self._at :] + self._decoder.decode(data, final=not data)
        self._at = 0
        return not self._ended

    def _stop(self) -> None:
        if self.problem is None:
            at_end = self._ended and self._at >= len(self._text)
            self.problem = "the file is cut off" if at_end else f"{NOT_JSON} from character {self.position} on"
