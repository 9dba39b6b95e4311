"""Who was erased: keyed hashes of what identifies them, and what of a text is blanked because of them. Pure.

    person ── marks ──▶ HMAC-SHA-256 ──▶ table ``erased``
    record read again ── Erased ──▶ left out (about them), or with blanks of the same length (they occur in it)

Erasing stored texts and reading new ones use the same functions, so that a file read again gives what is stored.
"""

import hmac
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import phonenumbers
from msgspec import structs

from ingest_pipeline.documents import Identifier, Json, Person, Record, Role, Segment

BLANK = "█"

Mark = tuple[str, ...]
"""What is hashed: its sort, then its parts."""

MAX_NAME_WORDS = 8
_SHORT = 8
"""Bytes of a digest that are kept in memory: among a billion of candidates, none is taken for another."""

_MAX_MEMO = 200_000
_NOT_LINE_BREAK = re.compile(r"[^\n]")
_WORD = re.compile(r"[^\W\d_]+")
_NAME_GAP = re.compile(r"[\s.,'’\-\u0300-\u036f]{1,4}")
_ADDRESS = re.compile(r"[\w.!#$%&'*+/=?^~-]+@[\w.-]+")
_AROUND_ADDRESS = ".!#$%&'*+/=?^~-"
_IN_URL = re.compile(r"[!#$%&'*/=?^~]")
_NUMBER_RUN = re.compile(r"\d(?:[ \t\u00a0().\-/]{0,3}\d){6,}")
_DIGITS = re.compile(r"\d+")
_PHONE_DIGITS = range(7, 18)
_MAX_PHONE_GROUPS = 8
_TOKEN = re.compile(r"(?<![A-Za-z0-9])(?:(?=[A-Za-z0-9]{6})[A-Za-z]*\d[A-Za-z0-9]*|[A-Z]{8,}(?![A-Za-z0-9]))")
_MIN_NUMERIC_TOKEN = 9
"""Digits of a native id that are looked for in texts: shorter ones are amounts, years and dates as well."""


@dataclass(frozen=True, slots=True)
class Traces:
    """What a person is found by. ``speakers``: (namespace, name) under which their turns stand in conversations.

    ``names`` are full names; those of a single word are not looked for in texts.
    """

    identifiers: frozenset[Identifier] = frozenset()
    names: frozenset[str] = frozenset()
    speakers: frozenset[tuple[str, str]] = frozenset()
    external_ids: frozenset[str] = frozenset()

    def marks(self) -> set[Mark]:
        """Everything that is hashed of the person."""
        found: set[Mark] = {("external", external_id) for external_id in self.external_ids}
        found |= {speaker_mark(*speaker) for speaker in self.speakers}
        for identifier in self.identifiers:
            found |= identifier_marks(identifier)
        for name in self.names:
            for words in name_spellings(name):
                found |= {("name", " ".join(words)), ("word", words[0])}
        return found


def identifier_mark(identifier: Identifier) -> Mark:
    """A file's key without a kind may be what a profile has as its external id."""
    if identifier.kind == "external":
        return ("external", identifier.value)
    return ("identifier", identifier.kind, identifier.value)


def identifier_marks(identifier: Identifier) -> set[Mark]:
    """The identifier, and how it stands in texts."""
    marks = {identifier_mark(identifier)}
    if identifier.kind == "phone":
        marks |= {("phone", digits) for digits in phone_spellings(identifier.value)}
    elif identifier.kind != "email":
        marks |= {("token", token) for token in native_tokens(identifier.value)}
    return marks


def speaker_mark(namespace: str, name: str) -> Mark:
    return ("speaker", namespace, lowered(name))


def native_tokens(value: str) -> set[str]:
    """The part of a native id that names the person anywhere, if it is special enough; Salesforce's in both lengths."""
    tail = value.rpartition("/")[2]
    if not _TOKEN.fullmatch(tail) or (tail.isdigit() and len(tail) < _MIN_NUMERIC_TOKEN):
        return set()
    return {tail, tail[:15]} if len(tail) == 18 and not tail.isdigit() else {tail}


def phone_spellings(number: str) -> set[str]:
    """The digits of an E.164 number as people write it: with the country code, also by 00 or with (0), and without."""
    try:
        parsed = phonenumbers.parse(number, None)
    except phonenumbers.NumberParseException:
        return {"".join(_DIGITS.findall(number))}
    national = "".join(_DIGITS.findall(phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.NATIONAL)))
    country, subscriber = str(parsed.country_code), phonenumbers.national_significant_number(parsed)
    spellings = {country + subscriber, f"00{country}{subscriber}", f"{country}0{subscriber}", national}
    return {digits for digits in spellings if len(digits) in _PHONE_DIGITS}


def name_spellings(name: str) -> set[tuple[str, ...]]:
    """The words of a full name in both orders, composed and decomposed; none for a name of one word."""
    if len(name.split()) < 2:
        return set()
    found: set[tuple[str, ...]] = set()
    for form in ("NFC", "NFD"):
        words = tuple(_WORD.findall(lowered(unicodedata.normalize(form, name))))
        if 2 <= len(words) <= MAX_NAME_WORDS:
            found |= {words, (words[-1], *words[:-1]), (*words[1:], words[0])}
    return found


def lowered(text: str) -> str:
    """In lower case and as long as before: only ``İ`` becomes two characters, and final sigma depends on its place."""
    return text.replace("İ", "i").lower().replace("ς", "σ")


def digest(key: bytes, mark: Mark) -> bytes:
    return hmac.digest(key, "\x1f".join(mark).encode("utf-8", "surrogatepass"), "sha256")


Span = tuple[int, int]


@dataclass(frozen=True)
class Erased:
    """The marks of erased people, as far as they can be recognised: by the hash of what is met."""

    key: bytes
    digests: frozenset[bytes]
    _memo: dict[Mark, bool] = field(default_factory=dict, compare=False)

    @classmethod
    def of(cls, key: bytes, digests: Iterable[bytes]) -> "Erased":
        """From whole digests."""
        return cls(key, frozenset(one[:_SHORT] for one in digests))

    def adding(self, marks: Iterable[Mark]) -> "Erased":
        return Erased(self.key, self.digests | {digest(self.key, mark)[:_SHORT] for mark in marks})

    def knows(self, mark: Mark) -> bool:
        known = self._memo.get(mark)
        if known is None:
            if len(self._memo) >= _MAX_MEMO:
                self._memo.clear()
            known = self._memo[mark] = digest(self.key, mark)[:_SHORT] in self.digests
        return known

    def is_erased(self, person: Person) -> bool:
        """Whether one of the person's identifiers is an erased one's."""
        return any(self.knows(identifier_mark(i)) for i in (person.key, *person.identifiers, *person.same_as))

    def blank(self, text: str) -> str:
        """The text with blanks where identifiers and full names of erased people stand."""
        return blanked(text, self.spans(text))

    def blank_path(self, path: str) -> str:
        """As ``blank``, for the name of a file: what stands before its one or two endings is looked at by itself."""
        dots = [place for place, character in enumerate(path) if character == "."]
        for end in (len(path), *reversed(dots[-2:])):
            path = self.blank(path[:end]) + path[end:]
        return path

    def blank_json(self, value: Json) -> Json:
        """As ``blank``, for all strings in a JSON value, however deep they stand in it."""
        top = [value]
        copies: list[list[Json] | dict[str, Json]] = [top]
        while copies:
            holder = copies.pop()
            places: Iterable[tuple[Any, Json]] = enumerate(holder) if isinstance(holder, list) else holder.items()
            for place, element in list(places):
                if isinstance(element, str):
                    holder[place] = self.blank(element)
                elif isinstance(element, list | dict):
                    copy = list(element) if isinstance(element, list) else self._blank_names(element)
                    holder[place] = copy
                    copies.append(copy)
        return top[0]

    def _blank_names(self, value: dict[str, Json]) -> dict[str, Json]:
        return {self.blank(name): element for name, element in value.items()}

    def blank_text(
        self, text: str, segments: Sequence[Segment], namespace: str | None
    ) -> tuple[str, tuple[Segment, ...]]:
        """A document's text without what erased people said in it, nor their identifiers and full names.

        ``namespace`` is that of the document's person: a speaker is known by it and the name that the text shows.
        """
        turns = {
            segment for segment in segments if segment.role is Role.OTHER and self._said(namespace, segment.speaker)
        }
        text = blanked(text, [(turn_start(text, turn), turn.end) for turn in turns])
        return self.blank(text), tuple(self._blank_speaker(segment, segment in turns) for segment in segments)

    def _said(self, namespace: str | None, speaker: str | None) -> bool:
        return namespace is not None and speaker is not None and self.knows(speaker_mark(namespace, speaker))

    def _blank_speaker(self, segment: Segment, said: bool) -> Segment:
        if segment.speaker is None:
            return segment
        speaker = BLANK * len(segment.speaker) if said else self.blank(segment.speaker)
        return Segment(segment.start, segment.end, segment.role, speaker, segment.native_id, segment.occurred_at)

    def blank_record(self, record: Record) -> Record:
        """The record as it may be stored, but for its native id: its key is made from that as it is."""
        namespace = record.subjects[0].namespace if record.subjects else None
        text, segments = self.blank_text(record.text, record.segments, namespace)
        return structs.replace(
            record,
            text=text,
            segments=segments,
            metadata=self.blank_json(dict(record.metadata)),
            position=self.blank(record.position),
        )

    def spans(self, text: str) -> list[Span]:
        """Where identifiers and full names of erased people stand, ascending; spans may overlap."""
        found = [*self._names(text), *self._tokens(text)]
        if "@" in text:
            found += self._addresses(text)
        found += self._phones(text)
        return sorted(found)

    def _addresses(self, text: str) -> Iterator[Span]:
        for match in _ADDRESS.finditer(text):
            whole = match[0].rstrip(_AROUND_ADDRESS)
            # Also without what allowed characters put in front of it: a quote, "to=" of a link.
            for candidate in {whole, whole.lstrip(_AROUND_ADDRESS), _IN_URL.split(whole)[-1].lstrip(_AROUND_ADDRESS)}:
                if self.knows(("identifier", "email", candidate.lower())):
                    yield match.start() + len(whole) - len(candidate), match.start() + len(whole)

    def _phones(self, text: str) -> Iterator[Span]:
        for run in _NUMBER_RUN.finditer(text):
            groups = list(_DIGITS.finditer(text, run.start(), run.end()))
            for first in range(len(groups)):
                digits = ""
                for last in range(first, min(first + _MAX_PHONE_GROUPS, len(groups))):
                    digits += groups[last][0]
                    if len(digits) in _PHONE_DIGITS and self.knows(("phone", digits)):
                        start = groups[first].start()
                        yield start - (start > 0 and text[start - 1] in "+("), groups[last].end()

    def _tokens(self, text: str) -> Iterator[Span]:
        for match in _TOKEN.finditer(text):
            if self.knows(("token", match[0])):
                yield match.span()

    def _names(self, text: str) -> Iterator[Span]:
        words = set(_WORD.findall(lowered(text)))
        if not any(self.knows(("word", word)) for word in words):
            return
        places = list(_WORD.finditer(lowered(text)))
        for first, place in enumerate(places):
            if self.knows(("word", place[0])):
                yield from self._names_from(text, places, first)

    def _names_from(self, text: str, places: Sequence[re.Match[str]], first: int) -> Iterator[Span]:
        name = places[first][0]
        for last in range(first + 1, min(first + MAX_NAME_WORDS, len(places))):
            if not _NAME_GAP.fullmatch(text, places[last - 1].end(), places[last].start()):
                return
            name = f"{name} {places[last][0]}"
            if self.knows(("name", name)):
                yield places[first].start(), places[last].end()


def turn_start(text: str, segment: Segment) -> int:
    """Where the turn that holds the segment begins: at its ``Name: `` label, before lines that the speaker quoted."""
    label = f"{segment.speaker}: "
    line = text.rfind("\n", 0, segment.start) + 1
    while not text.startswith(label, line):
        if not line:
            return segment.start
        above = text.rfind("\n", 0, line - 1) + 1
        if not text.startswith((label, ">"), above) and text[above : line - 1].strip():
            return segment.start
        line = above
    return line


def blanked(text: str, spans: Iterable[Span]) -> str:
    """The text with BLANK in place of the spans' characters; line breaks stay, so that lines stay lines."""
    pieces: list[str] = []
    end = 0
    for start, stop in sorted(spans):
        start = max(start, end)
        if stop > start:
            pieces += (text[end:start], _NOT_LINE_BREAK.sub(BLANK, text[start:stop]))
            end = stop
    return "".join((*pieces, text[end:])) if pieces else text
