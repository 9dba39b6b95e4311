"""Cutting long text at natural boundaries. Offsets stay those of the text; every code point is in a span."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_BOUNDARIES = (
    re.compile(r"\n\s*\n"),
    re.compile(r"\n"),
    re.compile(r"[.!?…。！？]+[\"'”’)\]]*\s+|[。！？]"),
    re.compile(r"\s+"),
)
"""Paragraphs, lines, sentences, words: the first kind that occurs late enough in a span ends it."""


@dataclass(frozen=True, slots=True)
class Span:
    """``text[start:end]``."""

    start: int
    end: int

    def __len__(self) -> int:
        return self.end - self.start


def chunk(
    text: str, max_chars: int, overlap_chars: int, breaks: Sequence[int] = (), within: Span | None = None
) -> list[Span]:
    """Spans of at most ``max_chars`` code points that cover the text, in order; one span when it fits.

    Each span ends at a boundary in its second half: preferably one of ``breaks`` (sorted offsets, such as the starts
    of turns), else a paragraph, line, sentence or word, else anywhere. The next one begins up to ``overlap_chars``
    earlier, at the start of a line, sentence or word, so that a sentence which was cut is whole in one of the two.
    ``within`` cuts only that part. Raises ValueError unless 0 <= overlap_chars <= max_chars / 2.
    """
    if max_chars < 1 or not 0 <= overlap_chars <= max_chars / 2:
        raise ValueError("the overlap must be at most half of a chunk")
    whole = within or Span(0, len(text))
    spans: list[Span] = []
    start = whole.start
    while whole.end - start > max_chars:
        end = _end(text, start, max_chars, breaks)
        spans.append(Span(start, end))
        start = _overlap_start(text, max(end - overlap_chars, start + 1), end)
    spans.append(Span(start, whole.end))
    return spans


def halves(text: str, span: Span, overlap_chars: int, breaks: Sequence[int] = ()) -> list[Span]:
    """The span cut in two, near its middle; one span when it is too short for that."""
    if len(span) < 2:
        return [span]
    half = (len(span) + 1) // 2
    overlap = min(overlap_chars, half // 2)
    # A little more than half, so that two parts suffice wherever the first one ends.
    size = min(len(span) - 1, half + half // 2 + overlap)
    return chunk(text, max(size, 2 * overlap, 1), overlap, breaks, span)


def _end(text: str, start: int, max_chars: int, breaks: Sequence[int]) -> int:
    latest, earliest = start + max_chars, start + max_chars // 2 + 1
    fitting = [place for place in breaks if earliest <= place <= latest]
    if fitting:
        return fitting[-1]
    for boundary in _BOUNDARIES:
        ends = [match.end() for match in boundary.finditer(text, earliest - 1, latest) if match.end() >= earliest]
        if ends:
            return ends[-1]
    return latest


def _overlap_start(text: str, earliest: int, end: int) -> int:
    """The first start of a line, sentence or word in [earliest, end]."""
    for boundary in _BOUNDARIES[1:]:
        match = boundary.search(text, earliest - 1, end)
        if match and earliest <= match.end() <= end:
            return match.end()
    return earliest
