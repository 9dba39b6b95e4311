"""Evidence or nothing: a candidate becomes an observation only when its quote stands in the subject's words.

    candidates ──▶ quote found in one evidence segment? ──▶ value supported by the quote? ──▶ wanted? ──▶ observations
                        └── quote_not_found, not_the_subject        └── value_not_in_quote        └── sensitive

The found span is exact: ``observation.quote == document.text[start:end]``, code points, whatever the candidate's quote
looked like. Trait values are kept as they were proposed; the fold normalises and, if need be, rejects them.
"""

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ingest_pipeline.documents import Document, Role, Segment
from ingest_pipeline.extraction import dates
from ingest_pipeline.extraction.base import Candidate, Kind, MemoryType, Observation
from ingest_pipeline.extraction.sensitive import Sensitive, find_sensitive
from ingest_pipeline.extraction.support import LITERAL_TRAITS, supports_memory, supports_trait
from ingest_pipeline.extraction.traits import TraitSchema

MAX_CONFIDENCE = 0.99
_MEMORY_TYPES = frozenset(MemoryType)
_CATEGORIES = frozenset(Sensitive)
_SAME = {ord(c): "'" for c in "‘’‚‛′`´"} | {ord(c): '"' for c in "“”„‟″«»"} | {ord(c): "-" for c in "‐‑‒–—―−"}
_INVISIBLE = frozenset("\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff")
_TRIM = " .…\"'"


@dataclass(frozen=True, slots=True)
class Grounded:
    """``dropped`` counts candidates by reason; ``len(observations) + sum(dropped.values())`` is what was proposed."""

    observations: tuple[Observation, ...]
    dropped: dict[str, int]


def ground(document: Document, candidates: Iterable[Candidate], schema: TraitSchema, timezone: str = "UTC") -> Grounded:
    """Observations for the candidates whose quote and value the document proves.

    Reasons for dropping: ``empty_quote``, ``empty_value`` and ``unknown_memory_type`` (memories),
    ``quote_not_found``, ``not_the_subject`` (the quote stands only in someone else's words), ``value_not_in_quote``,
    ``sensitive`` (it touches a category that the schema does not ask for), ``duplicate``. A stated date that the
    segment does not have is ignored, not resolved.
    ``timezone`` is the IANA zone in which the stated days begin.
    """
    finder = _Finder(document)
    kept: dict[tuple[object, ...], Observation] = {}
    dropped: Counter[str] = Counter()
    for candidate in candidates:
        result = _observe(document, finder, candidate, schema, timezone)
        if isinstance(result, str):
            dropped[result] += 1
            continue
        key = (result.kind, result.key, repr(result.value), result.start, result.end, result.retracted)
        if key in kept:
            dropped["duplicate"] += 1
        kept.setdefault(key, result)
    return Grounded(tuple(kept.values()), dict(dropped))


def _observe(
    document: Document, finder: "_Finder", candidate: Candidate, schema: TraitSchema, timezone: str
) -> Observation | str:
    """The observation, or the reason why there is none."""
    problem = _problem(candidate)
    if problem:
        return problem
    place = finder.find(candidate.quote, candidate.start)
    if isinstance(place, str):
        return place
    segment, start, end = place
    quote = document.text[start:end]
    said_at = segment.occurred_at or document.occurred_at
    stated = candidate.stated if candidate.stated and finder.has(segment, candidate.stated) else None
    effective_at = None
    if stated and said_at:
        effective_at = dates.resolve(stated, said_at, timezone, ahead=dates.looks_ahead(quote))
    if candidate.kind is Kind.TRAIT:
        supported = supports_trait(schema.get(candidate.key), candidate.key, candidate.value, quote)
    else:
        names = f"{document.subject_name or ''} {segment.speaker or ''}"
        supported = supports_memory(candidate.value, quote, finder.words(segment), names, effective_at)
    if not supported:
        return "value_not_in_quote"
    if _touches(candidate, quote, f"{document.subject_name or ''} {segment.speaker or ''}") - schema.sensitive:
        return "sensitive"
    return Observation(
        kind=candidate.kind,
        key=candidate.key,
        value=candidate.value,
        confidence=min(max(candidate.confidence, 0.0), MAX_CONFIDENCE),
        importance=None if candidate.importance is None else min(max(candidate.importance, 0.0), 1.0),
        quote=quote,
        start=start,
        end=end,
        role=segment.role,
        said_at=said_at,
        effective_at=effective_at,
        stated=stated,
        retracted=candidate.retracted,
        native_id=segment.native_id,
    )


def _touches(candidate: Candidate, quote: str, names: str) -> frozenset[Sensitive]:
    """The sensitive categories of a claim and its quote. Where someone works, or what they are called, is none."""
    said = frozenset({Sensitive(candidate.sensitive)}) if candidate.sensitive in _CATEGORIES else frozenset()
    value = candidate.value if isinstance(candidate.value, str) else ""
    if candidate.kind is Kind.TRAIT and candidate.key in LITERAL_TRAITS:
        return said | find_sensitive([quote], f"{names} {value}")
    return said | find_sensitive([value, quote], names)


def _problem(candidate: Candidate) -> str | None:
    if not candidate.quote.strip():
        return "empty_quote"
    if candidate.kind is Kind.MEMORY:
        if candidate.key not in _MEMORY_TYPES:
            return "unknown_memory_type"
        if not isinstance(candidate.value, str) or not candidate.value.strip():
            return "empty_value"
    return None


class _Finder:
    """Looks for quotes in one document. Folding a segment is paid for only when an exact search fails."""

    def __init__(self, document: Document) -> None:
        self._text = document.text
        self._segments = document.evidence_segments()
        self._folded: dict[tuple[int, int], _Folded] = {}

    def find(self, quote: str, hint: int | None) -> tuple[Segment, int, int] | str:
        """(segment, start, end) of the occurrence nearest to the hint, else the first; or the reason why none."""
        needle = quote.strip()
        if hint is not None:
            begin = hint + quote.index(needle)
            for segment in self._segments:
                inside = segment.start <= begin and begin + len(needle) <= segment.end
                if inside and self._text.startswith(needle, begin):
                    return segment, begin, begin + len(needle)
        for search in (self._exact, self._loose):
            found = [(s, *span) for s in self._segments for span in search(needle, s.start, s.end, hint)]
            if found:
                return min(found, key=lambda place: abs(place[1] - (hint or 0)))
        whole = Segment(0, len(self._text), Role.OTHER)
        elsewhere = any(search(needle, whole.start, whole.end, None) for search in (self._exact, self._loose))
        return "not_the_subject" if elsewhere else "quote_not_found"

    def has(self, segment: Segment, phrase: str) -> bool:
        """Whether the segment holds the phrase, read loosely."""
        return self._text.find(phrase, segment.start, segment.end) >= 0 or bool(
            self._loose(phrase, segment.start, segment.end, None)
        )

    def words(self, segment: Segment) -> Callable[[], str]:
        return lambda: self._text[segment.start : segment.end]

    def _exact(self, needle: str, start: int, end: int, hint: int | None) -> list[tuple[int, int]]:
        def search(position: int) -> int:
            return self._text.find(needle, position, end)

        spans: list[tuple[int, int]] = []
        at = search(start)
        while at >= 0:
            if self._whole_words(at, at + len(needle)):
                spans.append((at, at + len(needle)))
                if hint is None or at >= hint:
                    break
            at = search(at + 1)
        return spans

    def _loose(self, needle: str, start: int, end: int, hint: int | None) -> list[tuple[int, int]]:
        if (start, end) not in self._folded:
            self._folded[start, end] = _Folded(self._text[start:end])
        folded = self._folded[start, end]
        wanted = _Folded(needle).text.strip(_TRIM)
        spans: list[tuple[int, int]] = []
        at = folded.text.find(wanted) if wanted else -1
        while at >= 0:
            span = (start + folded.places[at], start + folded.places[at + len(wanted) - 1] + 1)
            if self._whole_words(*span):
                spans.append(span)
                if hint is None or span[0] >= hint:
                    break
            at = folded.text.find(wanted, at + 1)
        return spans

    def _whole_words(self, start: int, end: int) -> bool:
        """Not "art" in "party". Scripts without spaces between words have no such boundary."""
        text = self._text
        return not (
            (start > 0 and _glued(text[start - 1], text[start]))
            or (end < len(text) and _glued(text[end - 1], text[end]))
        )


def _glued(left: str, right: str) -> bool:
    return left.isalnum() and right.isalnum() and left < "\u2e80" and right < "\u2e80"


class _Folded:
    """Text without differences of case, white space, typography; ``places[i]`` is where ``text[i]`` came from."""

    def __init__(self, original: str) -> None:
        chars: list[str] = []
        self.places: list[int] = []
        for place, char in enumerate(original):
            if char in _INVISIBLE:
                continue
            folded = " " if char.isspace() else unicodedata.normalize("NFKC", char).translate(_SAME).casefold()
            if folded == " " and chars and chars[-1] == " ":
                continue
            chars.extend(folded)
            self.places.extend([place] * len(folded))
        self.text = "".join(chars)
