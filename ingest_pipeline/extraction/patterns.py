"""The offline patterns, read from ``patterns.toml`` and compiled. See the head of that file for its fields."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

from ingest_pipeline.documents import Role
from ingest_pipeline.extraction.sentences import first_word
from ingest_pipeline.extraction.slots import any_of, lexicon, slot_patterns

BE = ("'m", "am", "'s", "is", "'re", "are", "been")
_BE = r"(?:'m|am|'s|is|'re|are|been)"
_SLOT = re.compile(r"\{([a-z_]+)(\d?)\}")


@dataclass(frozen=True, slots=True)
class Claim:
    """What a match says. ``trait`` is a trait key or "", ``memory`` a memory type or ""."""

    value: str
    confidence: float
    trait: str = ""
    memory: str = ""
    importance: float | None = None
    retract: bool = False


@dataclass(frozen=True, slots=True)
class Pattern:
    """``regex`` starts at the verb; ``bare``, for "be" patterns, behind it, where a note leaves out "Customer is"."""

    regex: re.Pattern[str]
    claims: tuple[Claim, ...]
    person: bool
    we: bool
    request: bool
    own: bool
    question: bool
    roles: frozenset[Role]
    bare: re.Pattern[str] | None = None
    np_starts: frozenset[str] = frozenset()
    needs_word: re.Pattern[str] | None = None
    ends_state: bool = False
    dated: bool = False
    requires: frozenset[str] = frozenset()
    whole: bool = False


@dataclass(frozen=True, slots=True)
class PatternSet:
    """``by_word``: first word of the verb -> its patterns, in order. ``bare``: those that may lack their "is"."""

    version: int
    by_word: Mapping[str, tuple[Pattern, ...]]
    bare: tuple[Pattern, ...]
    elided: frozenset[str]
    complaint: re.Pattern[str]
    words: frozenset[str] = field(repr=False)


@cache
def load_patterns() -> PatternSet:
    """Compiled once per process, at first use."""
    data = tomllib.loads(resources.files(__package__).joinpath("patterns.toml").read_text(encoding="utf-8"))
    by_word: dict[str, list[Pattern]] = {}
    bare: list[Pattern] = []
    for entry in data["pattern"]:
        pattern = _compile(entry)
        for word in dict.fromkeys(word for phrase in entry["on"] for word in _first_words(phrase, _who(entry))):
            by_word.setdefault(word, []).append(pattern)
        if pattern.bare is not None:
            bare.append(pattern)
    complaint = data["complaint"]
    return PatternSet(
        version=data["version"],
        by_word={word: tuple(patterns) for word, patterns in by_word.items()},
        bare=tuple(bare),
        elided=frozenset(data["elided"]),
        complaint=re.compile(
            rf"\b(?P<whose>the|our|your|my) (?P<np>{complaint['nouns']}) (?P<does>{complaint['keeps']})", re.I
        ),
        words=frozenset(by_word),
    )


def _who(entry: Mapping[str, Any]) -> str:
    return str(entry.get("who", "person"))


def _first_words(phrase: str, who: str) -> tuple[str, ...]:
    if phrase == "chan":
        return tuple(first_word(w.split()[0]) for w in lexicon().channels if not w.startswith(("a ", "the ")))
    head = phrase.split()[0]
    if head == "be" and who != "request":
        return BE
    return ("will", "'ll") if head == "will" else (first_word(head),)


def _compile(entry: Mapping[str, Any]) -> Pattern:
    who = _who(entry)
    adverbs = rf"(?: (?:{any_of(lexicon().adverbs)})(?![\w'])){{0,3}}"
    verbs = "|".join(_verb(phrase, adverbs, who) for phrase in sorted(entry["on"], key=len, reverse=True))
    rest = _with_slots(entry["re"])
    needs_word = entry.get("needs_word")
    flags = re.IGNORECASE
    return Pattern(
        regex=re.compile(rf"(?P<verb>{verbs})(?![\w'-]){adverbs} *(?P<match>{rest})(?![\w-])", flags),
        claims=tuple(_claim(claim) for claim in entry["claims"]),
        person=who in ("person", "also we", "also request"),
        we=who == "also we",
        request=who in ("request", "also request"),
        own=who == "own",
        question=entry.get("question", False),
        roles=_roles(entry, who),
        bare=re.compile(rf"(?P<verb>)(?P<match>{rest})(?![\w-])", flags)
        if "be" in entry["on"] and who != "request"
        else None,
        np_starts=frozenset(entry.get("np_starts", ())),
        needs_word=re.compile(rf"\b(?:{any_of(needs_word)})\b", flags) if needs_word else None,
        ends_state=entry.get("ends_state", False),
        dated=entry.get("dated", False),
        whole=who == "request" or entry.get("whole", False),
        requires=frozenset(entry.get("requires", ())),
    )


def _roles(entry: Mapping[str, Any], who: str) -> frozenset[Role]:
    default = ["subject"] if who == "request" else ["subject", "note"]
    return frozenset(Role(role) for role in entry.get("roles", default))


def _verb(phrase: str, adverbs: str, who: str) -> str:
    if phrase == "chan":
        return rf"(?P<chan>{any_of(lexicon().channels)})"
    head, _, tail = phrase.partition(" ")
    if head == "be" and who != "request":
        return _BE + (rf"{adverbs} {re.escape(tail)}" if tail else "")
    if head == "will":
        return r"(?:will|'ll)"
    return re.escape(phrase)


def _with_slots(text: str) -> str:
    return _SLOT.sub(lambda m: f"(?P<{m.group(1)}{m.group(2)}>{slot_patterns()[m.group(1)]})", text)


def _claim(entry: Mapping[str, Any]) -> Claim:
    return Claim(
        value=entry.get("value") or entry["text"],
        confidence=entry["conf"],
        trait=entry.get("trait", ""),
        memory=entry.get("memory", ""),
        importance=entry.get("imp"),
        retract=entry.get("retract", False),
    )
