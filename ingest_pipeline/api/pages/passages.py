"""Text with marks, as pieces that a template writes one after the other. Pure; offsets are code points."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ingest_pipeline.documents import Segment

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Run:
    """A piece of text, and which of the spans cover it: their indices."""

    text: str
    marks: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Passage:
    """A quote with the text around it; ``cut_before``, ``cut_after``: there is more of the document."""

    runs: tuple[Run, ...]
    cut_before: bool
    cut_after: bool


@dataclass(frozen=True, slots=True)
class Turn:
    """A stretch of a document with one speaker; ``segment`` None: text between those of speakers."""

    segment: Segment | None
    runs: tuple[Run, ...]


def mark(text: str, spans: Sequence[Span], start: int = 0, end: int | None = None) -> Iterator[Run]:
    """``text[start:end]`` in pieces: what they hold, one after the other, is that text. Spans may overlap."""
    end = len(text) if end is None else end
    within = [(max(a, start), min(b, end), i) for i, (a, b) in enumerate(spans) if a < b and a < end and b > start]
    edges = sorted({start, end, *(a for a, _, _ in within), *(b for _, b, _ in within)})
    begins = sorted(within)
    active: list[tuple[int, int, int]] = []
    next_begin = 0
    for left, right in pairwise(edges):
        while next_begin < len(begins) and begins[next_begin][0] <= left:
            active.append(begins[next_begin])
            next_begin += 1
        active = [one for one in active if one[1] > left]
        yield Run(text[left:right], tuple(sorted(i for _, _, i in active)))


def quote_in(text: str, span: Span, around: int = 500) -> Passage:
    """The quote with about ``around`` characters on each side, cut at the end of a line, a sentence or a word."""
    start, end = span
    left = 0 if start <= around else _cut_forward(text, start - around, start)
    right = len(text) if len(text) - end <= around else _cut_back(text, end, end + around)
    return Passage(tuple(mark(text, [span], left, right)), left > 0, right < len(text))


def _cut_forward(text: str, at: int, limit: int) -> int:
    for ending in ("\n", ". ", " "):
        found = text.find(ending, at, limit)
        if found >= 0:
            return found + len(ending)
    return at


def _cut_back(text: str, limit: int, at: int) -> int:
    for ending in ("\n", ". ", " "):
        found = text.rfind(ending, limit, at)
        if found >= 0:
            return found + (1 if ending == ". " else 0)
    return at


def turns(text: str, segments: Sequence[Segment], spans: Sequence[Span]) -> Iterator[Turn]:
    """The whole text, speaker by speaker. What lies between two segments is a turn of nobody, unless it is only space,
    or the name of who speaks next, which is shown anyway."""
    at = 0
    for segment in sorted(segments):
        if segment.start < at:  # readers make none that overlap
            continue
        if text[at : segment.start].strip() not in ("", f"{segment.speaker}:"):
            yield Turn(None, tuple(mark(text, spans, at, segment.start)))
        yield Turn(segment, tuple(mark(text, spans, segment.start, segment.end)))
        at = segment.end
    if text[at:].strip():
        yield Turn(None, tuple(mark(text, spans, at)))


def speaker_at(segments: Sequence[Segment], span: Span) -> Segment | None:
    """Whose words a quote is."""
    return next((one for one in segments if one.start <= span[0] and span[1] <= one.end), None)
