"""Sensitive matters: what is kept of them only when the trait schema asks for it.

The categories are those of the GDPR (articles 9 and 10), and a person's own money. The guard is a lexicon
(``sensitive.toml``) in English, German, French, Spanish, Portuguese and Italian: a term counts where its words say that
it is about a person, so that "sick of waiting" and "a healthy margin" are not about health. It is a net below what the
model is told and says itself, made to be precise; it does not know every word for an illness.
"""

import re
import tomllib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import Any

LEXICON_VERSION = "1"
"""Part of every extractor's fingerprint, by the trait schema's; raise it when the guard decides otherwise."""


class Sensitive(StrEnum):
    """Categories, as the trait schema names them."""

    HEALTH = "health"
    RELIGION = "religion"
    POLITICS = "politics"
    SEXUAL_ORIENTATION = "sexual_orientation"
    ETHNICITY = "ethnicity"
    TRADE_UNION = "trade_union"
    CRIMINAL_RECORD = "criminal_record"
    BIOMETRIC = "biometric"
    FINANCES = "finances"


DEFINITIONS = {
    Sensitive.HEALTH: "illness, disability, pregnancy, treatment, medication, allergies, addiction",
    Sensitive.RELIGION: "faith or philosophical belief, also as shown by its customs",
    Sensitive.POLITICS: "political opinions, party, vote",
    Sensitive.SEXUAL_ORIENTATION: "sexual orientation, gender identity, sex life",
    Sensitive.ETHNICITY: "race, skin colour, ethnic origin; not nationality or language",
    Sensitive.TRADE_UNION: "membership of a trade union",
    Sensitive.CRIMINAL_RECORD: "arrests, charges, convictions, prison",
    Sensitive.BIOMETRIC: "fingerprints, face or iris scans, genetic data",
    Sensitive.FINANCES: "their private income, debts, credit standing; not a company's budget",
}
"""What each covers, as the model is told."""


def find_sensitive(texts: Iterable[str], names: str = "") -> frozenset[Sensitive]:
    """The categories that the texts, a claim and its quote, touch.

    ``names`` are the person's: a Christian and a Gay are called so.
    """
    own = set(_plain(names).split()) - {"."}
    words = [word for text in texts for word in (".", *_plain(text).split())]
    rules = _rules()
    near = {rule for word in words for rule in rules.by_stem.get(word[:_STEM], ())}
    if not near:
        return frozenset()
    plain = rules.harmless.sub(" / ", f" {' '.join(word for word in words if word not in own)} ")
    return frozenset(rule.category for rule in near if rule.pattern.search(plain))


_STEM = 4
_ENDS = re.compile(r"[.!?;\n•|]+")
_SIGN = re.compile(r"[^\w:./]+|_")


def _plain(text: str) -> str:
    """Words without case, accents and signs between them; "." ends a sentence, ":" a label."""
    folded = text.casefold()
    if not folded.isascii():
        folded = "".join(c for c in unicodedata.normalize("NFKD", folded) if not unicodedata.combining(c))
    return _SIGN.sub(" ", _ENDS.sub(" . ", folded).replace(":", " : "))


@dataclass(frozen=True, slots=True)
class _Rule:
    category: Sensitive
    pattern: re.Pattern[str]


@dataclass(frozen=True, slots=True)
class _Rules:
    """``by_stem``: the rules that can match, by the beginning of a word. ``harmless``: phrases to pass over."""

    by_stem: dict[str, tuple[_Rule, ...]]
    harmless: re.Pattern[str]


@cache
def _rules() -> _Rules:
    data = tomllib.loads(resources.files(__package__).joinpath("sensitive.toml").read_text(encoding="utf-8"))
    by_stem: dict[str, tuple[_Rule, ...]] = {}
    for entry in data["rule"]:
        terms = _listed(entry["terms"])
        rule = _Rule(Sensitive(entry["category"]), _pattern(entry, terms, data))
        for stem in {_stem(term) for term in terms}:
            by_stem[stem] = (*by_stem.get(stem, ()), rule)
    harmless = "|".join(_term(phrase) for phrase in _listed(data["harmless"]))
    return _Rules(by_stem, re.compile(rf"(?<= )(?:{harmless})(?= )"))


def _stem(term: str) -> str:
    """The beginning of the longest word of a term: most sentences hold none of these."""
    words: list[str] = re.findall(r"[^\W_]+", term)
    return max(words, key=len)[:_STEM]


def _pattern(entry: dict[str, Any], terms: list[str], data: dict[str, Any]) -> re.Pattern[str]:
    frame = data["frame"][entry["frame"]] if "frame" in entry else ""
    behind = [_term(word) for name in entry.get("unless", []) for word in _listed(data["behind"][name])]
    guard = rf"(?! (?:{'|'.join(behind)})(?= ))" if behind else ""
    before = f"(?:{' '.join(frame.split())}) {_gap(data, entry['frame'])}" if frame else ""
    return re.compile(rf"(?<= ){before}(?:{'|'.join(map(_term, terms))})(?= ){guard}")


def _gap(data: dict[str, Any], frame: str) -> str:
    """Small words that may stand between a frame and its term."""
    return rf"(?:(?:{data['gap'][frame.split('.')[0]]}) ){{0,4}}"


def _listed(terms: str) -> list[str]:
    return [" ".join(term.split()) for term in terms.split(",") if term.strip()]


def _term(term: str) -> str:
    """``*`` ends a word any way, ``_`` is any word."""
    return " ".join(r"\w+" if word == "_" else word.replace("*", r"\w*") for word in term.split())
