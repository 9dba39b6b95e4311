"""Text to sentences and clauses, as spans of the text: nothing is copied or changed, so offsets stay true."""

import re
from collections.abc import Iterator

MAX_SENTENCE = 600
"""Longer "sentences" are tables, logs or legal text; nobody tells a fact in them."""

_ABBREVIATIONS = frozenset(
    {
        "mr",
        "mrs",
        "ms",
        "dr",
        "prof",
        "st",
        "inc",
        "ltd",
        "co",
        "corp",
        "vs",
        "no",
        "approx",
        "e.g",
        "i.e",
        "etc",
        "a.m",
    }
    | {"p.m", "sr", "jr", "dept", "jan", "feb", "mar", "apr", "jun", "jul", "aug", "sep", "sept", "oct", "nov", "dec"}
)
_BREAK = re.compile(
    r"\n\s*\n"  # a blank line
    r"|\n(?=\s*(?:[-*•–>|]|\d{1,2}[.)]\s))"  # a list item or a quoted line
    r"|(?<=[.!?:;,])[ \t]*\n"
    r"|[.!?]+[\"”’')\]]*(?=\s)"
    r"|[!?。！？]+"
    r"|\n"
)
_OPENING = frozenset("\"“„«'’([{<>|@#$€£+_`/\\")
"""Marks that a sentence may start with; bullets, dashes and emoji in front of one are left out."""
_LAST_WORD = re.compile(r"([\w.]{1,8})$")
_WRAPPED = 48
"""A line shorter than this ended because its writer ended it, not because a mail program wrapped it."""


def sentences(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Spans of the sentences in ``text[start:end]``, trimmed, none empty, none longer than MAX_SENTENCE."""
    begin = line = start
    for found in _BREAK.finditer(text, start, end):
        newline = found.group().find("\n")
        if newline >= 0:
            length, line = found.start() - line, found.end()
            wrapped = found.group().count("\n") == 1 and length >= _WRAPPED and not _starts_item(text, found.end(), end)
            if wrapped and text[found.start() - 1] not in ".!?:":
                continue
        elif found.group() == "." and _is_abbreviation(text, begin, found.start()):
            continue
        yield from _trimmed(text, begin, found.end())
        begin = found.end()
    yield from _trimmed(text, begin, end)


def _starts_item(text: str, start: int, end: int) -> bool:
    rest = text[start : min(start + 4, end)].lstrip(" \t")
    return rest[:1] in "-*•–>|" if rest else True


def _is_abbreviation(text: str, begin: int, dot: int) -> bool:
    """A dot that ends no sentence: "Dr. Smith", "J. Smith", "approx. 20"."""
    match = _LAST_WORD.search(text, max(begin, dot - 8), dot)
    if match is None:
        return False
    word = match.group(1)
    return (len(word) == 1 and word.isupper() and word != "I") or word.lower() in _ABBREVIATIONS


def _trimmed(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    while start < end and not (text[start].isalnum() or text[start] in _OPENING):
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    if 1 < end - start <= MAX_SENTENCE:
        yield start, end


_JOINT = re.compile(
    r"(?:[,;:]\s+|\s+[-–—]+\s*|[–—]|\s*\(|\.{2,}\s*|…\s*)(?:(?:and|but|so|plus|or|because|also|then|yet)\s+)?"
    r"|\s*[\u2600-\u27bf\ufe0f\U0001f000-\U0001faff]+\s*"
    r"|\s+(?:and|but|so|plus|because|although|though|while|whereas)\s+|\s+(?:as|since)\s+(?=(?:i|we|he|she|they|my|our)\b)"
    r"|\s+(?:know|mention|say|note|think|guess|afraid|believe|remind you|fyi)\s+(?:that\s+)?",
    re.IGNORECASE,
)
_FIRST_WORD = re.compile(r"[’']?[^\W\d_][\w-]*(?:['’]\w+)?")


def clauses(text: str, start: int, end: int, starters: frozenset[str]) -> list[tuple[int, int]]:
    """Spans of a sentence's clauses. A new one starts where a joint is followed by a word of ``starters``."""
    starts = [start]
    ends = []
    for joint in _JOINT.finditer(text, start, end):
        word = _FIRST_WORD.match(text, joint.end(), end)
        if word and joint.end() > starts[-1] and first_word(word.group()) in starters:
            ends.append(joint.start())
            starts.append(joint.end())
    return list(zip(starts, [*ends, end], strict=True))


def first_word(word: str) -> str:
    """The word that decides: lower case, without what is contracted to it ("I'm" → "i")."""
    plain = word.casefold().replace("’", "'")
    return plain if plain.startswith("'") or plain.endswith("n't") else plain.partition("'")[0]
