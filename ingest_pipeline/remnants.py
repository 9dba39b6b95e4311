"""What is looked for once a person is erased: how they are called, and samples of what they wrote. Pure.

Apart from ``erased`` on purpose: the proof finds by the plain values what the other finds by hashes.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice

import phonenumbers

from ingest_pipeline.documents import Identifier, Json
from ingest_pipeline.erased import Traces, lowered, name_spellings, native_tokens, phone_spellings

SAMPLE_WORDS = 5
SAMPLES_PER_TEXT = 3
_MIN_SAMPLE_BYTES = 20
"""Shorter sequences of words are anybody's."""

OVERLAP = 1_024
"""Bytes of which the blocks of a file overlap: longer than whatever is looked for."""

_WORDS = re.compile(rb"[0-9a-z\x80-\xff]+")
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")


@dataclass(slots=True)
class Samples:
    """Sequences of words out of a person's texts, as hashes. Of short texts there are none."""

    hashes: set[int] = field(default_factory=set)

    def take(self, text: str) -> None:
        """Add samples from places all over a text, also as JSON in ASCII spells them."""
        for spelling in {text, json.dumps(text)[1:-1]}:
            sequences = [s for s in _sequences(spelling.encode()) if sum(map(len, s)) >= _MIN_SAMPLE_BYTES]
            step = max(1, len(sequences) // SAMPLES_PER_TEXT)
            self.hashes.update(map(hash, islice(sequences[step // 2 :: step], SAMPLES_PER_TEXT)))

    def discard(self, text: str) -> None:
        """Take out what stands in somebody else's text too."""
        for spelling in {text, json.dumps(text)[1:-1]} if self.hashes else ():
            self.hashes.difference_update(map(hash, _sequences(spelling.encode())))

    def count(self, data: bytes) -> int:
        """How many of them stand in some bytes."""
        return len(self.hashes.intersection(map(hash, _sequences(data)))) if self.hashes else 0


def _sequences(data: bytes) -> Iterable[tuple[bytes, ...]]:
    words = _WORDS.findall(data.lower())
    return zip(*(words[n:] for n in range(SAMPLE_WORDS)), strict=False)


@dataclass(frozen=True, slots=True)
class Needles:
    """Identifiers and full names in plain text, with the patterns that tell them from parts of longer ones."""

    texts: tuple[tuple[str, re.Pattern[str]], ...]
    bytes_: tuple[tuple[bytes, re.Pattern[bytes]], ...]

    @classmethod
    def of(cls, traces: Traces) -> "Needles":
        spelled: dict[str, tuple[str, str]] = {}
        for identifier in traces.identifiers:
            spelled |= dict.fromkeys(_identifier_needles(identifier), _BOUNDS.get(identifier.kind, _WORD_BOUNDS))
        for external_id in traces.external_ids:
            spelled |= dict.fromkeys([external_id] if "@" in external_id else native_tokens(external_id), _WORD_BOUNDS)
        for name in traces.names:
            spelled |= dict.fromkeys(_name_needles(name), _WORD_BOUNDS)
        texts = {lowered(text): bounds for text, bounds in spelled.items()}
        coded = {code: bounds for text, bounds in spelled.items() for code in _codes(text)}
        return cls(
            tuple((t, re.compile(before + re.escape(t) + after)) for t, (before, after) in sorted(texts.items())),
            tuple(
                (c, re.compile(before.encode() + re.escape(c) + after.encode()))
                for c, (before, after) in sorted(coded.items())
            ),
        )

    def count(self, text: str) -> int:
        """How many of them stand in a text."""
        low = lowered(readable(text))
        return sum(plain in low and pattern.search(low) is not None for plain, pattern in self.texts)

    def count_bytes(self, data: bytes) -> int:
        """How many of them stand in some bytes."""
        low = data.lower()
        return sum(plain in low and pattern.search(low) is not None for plain, pattern in self.bytes_)


_WORD_BOUNDS = (r"(?<![^\W_])", r"(?![^\W_])")
_BOUNDS = {"email": (r"(?<![\w.+-])", r"(?![\w-]|\.\w)"), "phone": (r"(?<!\d)", r"(?!\d)")}


def _identifier_needles(identifier: Identifier) -> set[str]:
    if identifier.kind == "email":
        return {identifier.value}
    if identifier.kind == "phone":
        return phone_spellings(identifier.value) | _formatted(identifier.value)
    return native_tokens(identifier.value)


def _formatted(number: str) -> set[str]:
    try:
        parsed = phonenumbers.parse(number, None)
    except phonenumbers.NumberParseException:
        return set()
    formats = (phonenumbers.PhoneNumberFormat.INTERNATIONAL, phonenumbers.PhoneNumberFormat.NATIONAL)
    return {phonenumbers.format_number(parsed, form) for form in formats}


def _name_needles(name: str) -> set[str]:
    spellings = name_spellings(name)
    found = {separator.join((words[0], " ".join(words[1:]))) for words in spellings for separator in (" ", ", ")}
    return found | {" ".join(name.split())} if found else set()


def _codes(text: str) -> set[bytes]:
    """How a text stands in a file: as it is, and as JSON in ASCII spells it; with the usual capitals."""
    spellings = {text, lowered(text), text.title(), text.upper()}
    return {code.encode().lower() for s in spellings for code in (s, json.dumps(s)[1:-1])}


def readable(text: str) -> str:
    """Text that may be JSON, without its escapes."""
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)), text) if "\\u" in text else text


def strings(value: Json) -> list[str]:
    """All strings in a JSON value, however deep it is; the names of members too."""
    found: list[str] = []
    todo = [value]
    while todo:
        element = todo.pop()
        if isinstance(element, str):
            found.append(element)
        elif isinstance(element, list):
            todo.extend(reversed(element))
        elif isinstance(element, dict):
            found.extend(element)
            todo.extend(reversed(element.values()))
    return found
