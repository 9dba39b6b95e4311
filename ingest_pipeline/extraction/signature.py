"""Mail signatures to candidates: name, job title, company, phone. Which words say what is data: ``signature.toml``.

Nothing is claimed unless the block begins with the person's own name. A company counts when its line has a legal form,
follows "at", or agrees with the domain of the mail address: "VP, Operations" and "Head of Sales, Portugal" name none.
"""

import re
import tomllib
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources

import phonenumbers

from ingest_pipeline.documents import Document, Role, Segment
from ingest_pipeline.extraction.base import Candidate, Kind, MemoryType

MAX_LINES = 5
"""Filled lines below the name that may hold title and company; further down stand addresses and legal notices."""

MAX_PHONES = 2
_CONFIDENCE = 0.9
_PHONE_IMPORTANCE = 0.5

_LINE = re.compile(r"[^\n]+")
_WORD = re.compile(r"[^\W\d_][\w'’-]*(?:\.(?=\w))?")
_MARKUP = " \t*_|>-–—•·/"
_PART = re.compile(r"\s+[|·•–—-]\s+|\s*[|·•]\s*|,\s+")
_AT = re.compile(r"\s+(?:at|@|bei|chez|hos|bij)\s+(?=[^\W\d_])", re.IGNORECASE)
_JOINED = re.compile(r"(?:^|\s)(?:and|und|et|y|e|og|och|en|&|/)(?:\s|$)", re.IGNORECASE)
_OTHER_DATA = re.compile(r"[\d@:]|www\.|https?/")
_PHONE_PIECE = re.compile(r"(?P<label>[^\W\d_]{1,12}\.?)?[\s.:]*(?P<number>\+\d[\d\s()./-]{6,22}\d)")


@dataclass(frozen=True, slots=True)
class _Words:
    titles: frozenset[str]
    title_endings: tuple[str, ...]
    not_titles: frozenset[str]
    on_behalf: re.Pattern[str]
    legal_forms: frozenset[str]
    departments: frozenset[str]
    honorifics: frozenset[str]
    free_mail: frozenset[str]
    fax: frozenset[str]


@cache
def _data() -> dict[str, list[str]]:
    return tomllib.loads(resources.files(__package__).joinpath("signature.toml").read_text(encoding="utf-8"))


def signature_version() -> str:
    """Identifies the words in use; part of the extractor's fingerprint."""
    return str(_data()["version"])


@cache
def _lexicon() -> _Words:
    data = _data()
    phrases = "|".join(re.escape(phrase) for phrase in data["on_behalf"])
    return _Words(
        titles=frozenset(data["titles"]),
        title_endings=tuple(data["title_endings"]),
        not_titles=frozenset(data["not_titles"]),
        on_behalf=re.compile(rf"(?:^|[\s(])(?:{phrases})(?:\s|$)", re.IGNORECASE),
        legal_forms=frozenset(data["legal_forms"]),
        departments=frozenset(data["departments"]),
        honorifics=frozenset(data["honorifics"]),
        free_mail=frozenset(data["free_mail"]),
        fax=frozenset(data["fax"]),
    )


@dataclass(frozen=True, slots=True)
class _Line:
    """A filled line without its markup; ``start`` is where ``text`` stands in the document."""

    text: str
    start: int


@dataclass(frozen=True, slots=True)
class _Found:
    value: str
    line: _Line


def signature_candidates(document: Document) -> Iterator[Candidate]:
    """Claims of all signature segments of a document."""
    for segment in document.segments:
        if segment.role is Role.SIGNATURE:
            yield from _segment_candidates(document, segment)


def _segment_candidates(document: Document, segment: Segment) -> Iterator[Candidate]:
    lines = _lines(document.text, segment)
    address = segment.speaker or ""
    if any(_lexicon().on_behalf.search(line.text) for line in lines):
        return
    # Not by the profile's name: whether another source has told it yet must not change what is found.
    at = next((n for n, line in enumerate(lines[:2]) if _is_name(line.text, address)), None)
    if at is None:
        return
    if _is_full_name(lines[at].text):
        yield _trait("name", _Found(lines[at].text, lines[at]))
    described = [line for line in lines[at + 1 : at + 1 + MAX_LINES] if not _OTHER_DATA.search(line.text)]
    titles, companies = _read(described, address)
    for key, found in (("job_title", titles), ("company", companies)):
        # Two different ones: it is not clear which holds.
        if len({_plain(each.value) for each in found}) == 1:
            yield _trait(key, found[0])
    yield from _phones(lines[at + 1 :])


def _lines(text: str, segment: Segment) -> list[_Line]:
    found = []
    for match in _LINE.finditer(text, segment.start, segment.end):
        bare = match.group().strip(_MARKUP)
        if bare:
            found.append(_Line(bare, match.start() + match.group().index(bare)))
    return found


def _is_name(line: str, address: str) -> bool:
    """Whether the line is the sender's name as their address has it: the surname within it, or the first name alone."""
    words = _name_words(line)
    if not 2 <= len(words) <= 5 or _OTHER_DATA.search(line) or _JOINED.search(line) or _title_words(line):
        return False
    if not all(word[0].isupper() for word in line.split()):
        return False
    local = address.partition("@")[0]
    if _plain(words[-1]) in _plain(local):
        return True
    return words[0] in map(_plain, re.split(r"[._+-]", local)) and _lexicon().departments.isdisjoint(words)


def _is_full_name(line: str) -> bool:
    words = _WORD.findall(line)
    plain = _name_words(line)
    return 2 <= len(plain) == len(words) and all(w[0].isupper() and not w.isupper() for w in words) and "," not in line


def _name_words(name: str) -> list[str]:
    return [word for word in map(_plain, _WORD.findall(name)) if word and word not in _lexicon().honorifics]


def _read(lines: list[_Line], address: str) -> tuple[list[_Found], list[_Found]]:
    """(titles, companies) of the lines."""
    titles: list[_Found] = []
    companies: list[_Found] = []
    for line in lines:
        title, _, employer = line.text.partition(at[0]) if (at := _AT.search(line.text)) else (line.text, "", "")
        if employer and _is_title(title) and len(employer.split()) <= 6:
            titles.append(_Found(title.strip(), line))
            companies.append(_Found(employer.strip(" ."), line))
            continue
        parts = [part.strip() for part in _PART.split(line.text) if part.strip()]
        named = [part for part in parts if not _title_words(part) and _is_company(part, address)]
        called = [part for part in parts if _is_title(part)]
        # "VP, Operations" has its field behind the comma, and a title of one word needs it.
        whole = len(parts) == len(named) + len(called)
        titles += [_Found(part, line) for part in called if whole or len(part.split()) > 1]
        companies += [_Found(part, line) for part in named]
    return titles, companies


def _is_title(part: str) -> bool:
    words = [word.casefold().strip(".") for word in part.split()]
    lexicon = _lexicon()
    if len(words) > 9 or lexicon.not_titles & set(words) or any(w in lexicon.legal_forms for w in words):
        return False
    return bool(_title_words(part)) and not part.endswith((".", "!", "?"))


def _title_words(part: str) -> list[str]:
    lexicon = _lexicon()
    words = [word.casefold() for word in re.split(r"[\s/&,]+", part) if word]
    return [w for w in words if w in lexicon.titles or (len(w) > 8 and w.endswith(lexicon.title_endings))]


def _is_company(part: str, address: str) -> bool:
    lexicon = _lexicon()
    words = part.casefold().split()
    if not 1 <= len(words) <= 6 or part[0].islower():
        return False
    if len(words) > 1 and any(word in lexicon.legal_forms for word in words[1:]):
        return True
    return words[-1] not in lexicon.departments and _agrees_with_domain(part, address)


def _agrees_with_domain(part: str, address: str) -> bool:
    """ "Vela Logistics" and velalogistics.example or vela.example; not a part that only shares its first letters."""
    company = _plain(part)
    first = _plain(part.split()[0])
    labels = address.rpartition("@")[2].casefold().split(".")[:-1]
    for label in (_plain(label) for label in labels if label not in _lexicon().free_mail):
        if len(label) > 1 and (label == company or (len(label) > 3 and label == first)):
            return True
        if min(len(label), len(company)) > 4 and (label.startswith(company) or company.startswith(label)):
            return True
    return False


def _phones(lines: list[_Line]) -> Iterator[Candidate]:
    """International numbers; without country code it is not certain what they are. Fax numbers are left out."""
    seen: set[str] = set()
    for line in lines:
        for match in _PHONE_PIECE.finditer(line.text):
            label = (match["label"] or "").casefold().strip(".")
            number = _international(match["number"])
            if label in _lexicon().fax or number is None or number in seen or len(seen) == MAX_PHONES:
                continue
            seen.add(number)
            yield Candidate(
                Kind.MEMORY,
                MemoryType.FACT,
                f"Can be reached by phone at {match['number']}.",
                match["number"],
                _CONFIDENCE,
                _PHONE_IMPORTANCE,
                start=line.start + match.start("number"),
            )


def _international(raw: str) -> str | None:
    try:
        number = phonenumbers.parse(raw.replace("(0)", ""))
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_possible_number(number):
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _trait(key: str, found: _Found) -> Candidate:
    return Candidate(Kind.TRAIT, key, found.value, found.line.text, _CONFIDENCE, start=found.line.start)


def _plain(text: str) -> str:
    """Letters and digits only, without case and accents."""
    folded = unicodedata.normalize("NFKD", text.casefold())
    return "".join(char for char in folded if char.isalnum())
