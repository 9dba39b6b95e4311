"""Record fields, "Label: value" lines, to candidates. Which labels say what is data: ``fields.toml``."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from ingest_pipeline.documents import Document, Role, Segment
from ingest_pipeline.extraction.base import Candidate, Kind, MemoryType

_LINE = re.compile(r"^[ \t]*([^\n:]{1,60}?)[ \t]*:[ \t]*(\S[^\n]{0,300}?)[ \t]*$", re.MULTILINE)
_YES = frozenset({"yes", "true", "1", "y", "x", "on", "checked"})
_LISTED = re.compile(r"\s*[;,|/]\s*|\s+and\s+|\s+&\s+")
_CHANNELS = {
    "email": re.compile(r"\be-?mails?\b", re.IGNORECASE),
    "phone": re.compile(r"\b(?:phone|telephone|calls?|mobile)\b", re.IGNORECASE),
    "chat": re.compile(r"\b(?:chat|slack|whatsapp|sms|text|teams|messenger)\b", re.IGNORECASE),
}
_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class _Labels:
    traits: Mapping[str, str]
    fallback: Mapping[str, str]
    checked: Mapping[str, Mapping[str, Any]]
    memories: Mapping[str, tuple[str, float]]
    skip: frozenset[str]
    prefixes: tuple[str, ...]


@cache
def _labels() -> _Labels:
    data = tomllib.loads(resources.files(__package__).joinpath("fields.toml").read_text(encoding="utf-8"))
    return _Labels(
        traits={label: key for key, labels in data["traits"].items() for label in labels},
        fallback={label: key for key, labels in data["fallback"].items() for label in labels},
        checked={label: entry for entry in data["checked"] for label in entry["labels"]},
        memories={label: (text, importance) for label, (text, importance) in data["memories"].items()},
        skip=frozenset(data["skip_values"]),
        prefixes=tuple(data["prefixes"]),
    )


@dataclass(frozen=True, slots=True)
class _Field:
    label: str
    value: str
    start: int
    quote: str


def field_candidates(document: Document) -> Iterator[Candidate]:
    """Claims of all field segments of a record. A country counts only when no line of the record names a city."""
    fields = [f for s in document.segments if s.role is Role.FIELD for f in _fields(document.text, s)]
    known = {_labels().traits.get(_known(field.label)) for field in fields}
    for field in fields:
        label = _known(field.label)
        key = _labels().traits.get(label)
        fallback = _labels().fallback.get(label)
        if fallback and fallback not in known:
            known.add(fallback)
            key = fallback
        yield from _claims(field, label, key)


def _fields(text: str, segment: Segment) -> Iterator[_Field]:
    for match in _LINE.finditer(text, segment.start, segment.end):
        label = re.sub(r"__c$|^property_", "", match.group(1).casefold()).replace("_", " ").strip()
        yield _Field(label, match.group(2), match.start(1), text[match.start(1) : match.end(2)])


def _known(label: str) -> str:
    """The label as it stands in the data, else without its prefix."""
    labels = _labels()
    for candidate in (label, *(label.removeprefix(p) for p in labels.prefixes if label.startswith(p))):
        if any(candidate in table for table in (labels.traits, labels.fallback, labels.checked, labels.memories)):
            return candidate
    return label


def _claims(field: _Field, label: str, key: str | None) -> Iterator[Candidate]:
    labels = _labels()
    if label in labels.checked:
        if field.value.casefold() in _YES:
            yield from _checked(field, labels.checked[label])
        return
    if field.value.casefold() in labels.skip:
        return
    if key is not None:
        for value in _values(key, field.value):
            yield Candidate(Kind.TRAIT, key, value, field.quote, _CONFIDENCE, start=field.start)
    elif label in labels.memories and field.value.casefold() not in _YES:
        sentence, importance = labels.memories[label]
        text = sentence.format(value=field.value.rstrip("."))
        yield _memory(field, MemoryType.FACT, text, importance)


def _checked(field: _Field, entry: Mapping[str, Any]) -> Iterator[Candidate]:
    for name, retracted in (("set", False), ("retract", True)):
        for key, value in entry.get(name, {}).items():
            yield Candidate(Kind.TRAIT, key, value, field.quote, _CONFIDENCE, retracted=retracted, start=field.start)
    if "memory" in entry:
        yield _memory(field, MemoryType.PREFERENCE, entry["memory"], 0.6)


def _memory(field: _Field, kind: MemoryType, text: str, importance: float) -> Candidate:
    return Candidate(Kind.MEMORY, kind, text, field.quote, _CONFIDENCE, importance, start=field.start)


def _values(key: str, value: str) -> tuple[str, ...]:
    """One value, or the elements of a list. A contact channel may be wrapped in words: "by e-mail only"."""
    if key in ("interests", "current_goals"):
        splitter = _LISTED if key == "interests" else re.compile(r"\s*[;|]\s*")
        return tuple(part for part in splitter.split(value) if part)
    if key == "contact_preference":
        named = [channel for channel, words in _CHANNELS.items() if words.search(value)]
        if re.search(r"\b(?:no|not|never|don't)\b", value, re.IGNORECASE):
            return ()
        return (named[0],) if len(named) == 1 else ()
    return (value,)
