"""Where personal values stand in a text: e-mail addresses, phone, card and account numbers, identity numbers.

Made to find too much rather than too little: what is hidden without need is restored in the answer, what is not hidden
is gone. Written-out forms ("ana at acme dot com") are not found.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import import_module
from typing import TypeAlias

VERSION = "1"
"""Raise it when other values are found: what was asked changes."""

Span: TypeAlias = tuple[int, int]


class Personal(StrEnum):
    """Kinds of values, as INGEST_REDACT names them."""

    EMAIL = "email"
    PHONE = "phone"
    CARD = "card"
    IBAN = "iban"
    ID = "id"


@dataclass(frozen=True, slots=True)
class Found:
    """``text[start:end]`` is a value."""

    start: int
    end: int
    kind: Personal


def find_personal(text: str, kinds: frozenset[Personal], region: str = "") -> list[Found]:
    """The values of these kinds, in order, none overlapping: those that do are one, of the longest one's kind.

    ``region`` is the country (ISO 3166, two letters) of phone numbers without a leading +.
    """
    plain, places = _flattened(text)
    found = [Found(*span, kind) for kind in kinds for span in _FINDERS[kind](plain, region)]
    merged: list[Found] = []
    for each in sorted(found, key=lambda one: (one.start, -one.end, one.kind)):
        if merged and each.start < merged[-1].end:
            longer = max(merged[-1], each, key=lambda one: one.end - one.start)
            merged[-1] = Found(merged[-1].start, max(merged[-1].end, each.end), longer.kind)
        else:
            merged.append(each)
    if places is None:
        return merged
    return [Found(places[one.start], places[one.end - 1] + 1, one.kind) for one in merged]


# Invisible characters inside a value, and full-width forms of its characters, must not hide it from us.
_INVISIBLE = frozenset("\u00ad\u180e\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\ufeff")
_ODD = re.compile(r"[\u00ad\u180e\u200b-\u200f\u202a-\u202e\u2060\ufeff\uff01-\uff5e\u00a0\u2007\u2009\u202f]")


def _flattened(text: str) -> tuple[str, list[int] | None]:
    """The text in plain characters, and where each of them comes from (None: the text is plain already)."""
    if not _ODD.search(text):
        return text, None
    chars: list[str] = []
    places: list[int] = []
    for place, char in enumerate(text):
        if char not in _INVISIBLE:
            plain = unicodedata.normalize("NFKC", char) if _ODD.match(char) else char
            chars.append(plain if len(plain) == 1 else char)
            places.append(place)
    return "".join(chars), places


_LOCAL = frozenset("._%+-'!#$&*=?^`{|}~/")
_DOMAIN = re.compile(r"(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}[^\W\d_][\w-]{1,23}")
_IP_DOMAIN = re.compile(r"\[[\d.:a-fA-F]{3,45}\]|[^\W\d_][\w-]{0,62}(?!\w)")


def _emails(text: str, _region: str) -> Iterator[Span]:
    """Around each @, and so in linear time. ``user@host`` without a dot counts when the host ends a word."""
    for at in re.finditer("@", text):
        start = at.start()
        while start > 0 and (text[start - 1].isalnum() or text[start - 1] in _LOCAL):
            start -= 1
        while start < at.start() and text[start] in "'/|=?`{}.~":
            start += 1
        if start == at.start():
            continue
        domain = _DOMAIN.match(text, at.end()) or _IP_DOMAIN.match(text, at.end())
        if domain:
            yield start, domain.end()


_PHONE_WORD = (
    r"(?:tel(?:ephone|efon|éfono|éphone|efono|efone|\.)?|phone|mobile?|cell|móvil|telemóvel|cellulare|handy|portable|"
    r"fax|whatsapp|signal|sms|call(?: me)?|ring(?: me)?|text me|anrufen|llám\w*|appel\w*|chiama\w*|ligue)"
)
_LABELLED_PHONE = re.compile(rf"(?<!\w){_PHONE_WORD}(?!\w)[^\d\n+(]{{0,20}}(\+?\(?\d[\d ()./-]{{5,20}}\d)", re.I)
_NATIONAL_PHONE = re.compile(
    r"(?<![\w.,:/+-])(?:"
    r"\(\d{3}\) ?\d{3}[-. ]?\d{4}|\d{3}[-.]\d{3}[-.]\d{4}"  # North America
    r"|\(?0[1-9]\d{0,4}\)?(?:[ /.-]{1,3}\d{2,8}){1,5}|0[1-9]\d{8,9}"  # with the trunk prefix 0
    r"|[2679]\d{2}(?: \d{3}){2}|[69]\d{2}(?: \d{2}){3}"  # Portugal, Spain, Poland
    r")(?![\w-]|[.,:/]\d)"
)
_DATE = re.compile(r"\D{0,2}(?:\d{1,2}[./-]\d{1,2}[./-](?:\d{4}|\d{2})|(?:19|20)\d\d[./-]\d{1,2}[./-]\d{1,2})(?!\d)")


def _phones(text: str, region: str) -> Iterator[Span]:
    """What libphonenumber takes for a number, anywhere with a + or in the region; then national ways of writing."""
    from phonenumbers import Leniency, PhoneNumberMatcher

    if sum(map(str.isdigit, text)) < 6:
        return
    for where, leniency in ((None, Leniency.POSSIBLE), (region or None, Leniency.VALID)):
        for match in PhoneNumberMatcher(text, where, leniency, max_tries=1_000_000):
            # An opening bracket that the number does not close is not its own.
            yield match.start + _opens(match.raw_string), match.end
    for pattern, group, fewest in ((_LABELLED_PHONE, 1, 7), (_NATIONAL_PHONE, 0, 9)):
        found = pattern.search(text)
        while found:
            start, end = _shortened(text, *found.span(group))
            fits = sum(map(str.isdigit, text[start:end])) >= fewest and not _DATE.match(text[start:end])
            if fits:
                yield start + _opens(text[start:end]), end
            found = pattern.search(text, end if fits else found.start() + 1)


def _shortened(text: str, start: int, end: int) -> Span:
    """Without the last groups of digits when there are more than a phone number has (ITU-T E.164: 15)."""
    while sum(map(str.isdigit, text[start:end])) > 15:
        end = start + len(re.sub(r"[^\d]*\d+$", "", text[start:end]))
    return start, end


def _opens(number: str) -> bool:
    return number.startswith("(") and number.count("(") > number.count(")")


_GROUPED = re.compile(r"(?<![\w.])\d(?:[ -]?\d){11,60}(?![\w])")
_DIGITS = re.compile(r"\d+")


def _cards(text: str, _region: str) -> Iterator[Span]:
    """13 to 19 digits that begin as cards do and pass Luhn (ISO/IEC 7812), also between other groups of digits."""
    from stdnum import luhn

    for run in _GROUPED.finditer(text):
        groups = [match.span() for match in _DIGITS.finditer(text, *run.span())]
        for first, (start, _) in enumerate(groups):
            if text[start] not in "23456":
                continue
            for _, end in reversed(groups[first : first + 19]):
                digits = re.sub(r"\D", "", text[start:end])
                if 13 <= len(digits) <= 19 and luhn.is_valid(digits):
                    yield start, end
                    break


_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}\d{2}(?:[ -]?[A-Za-z0-9]){11,45}")


def _ibans(text: str, _region: str) -> Iterator[Span]:
    """As long as its country's are and with the right checksum (ISO 13616), whatever follows."""
    from stdnum import iban

    run = _IBAN.search(text)
    while run:
        start, after = run.start(), run.start() + 1
        ends = [place + 1 for place in range(start, run.end()) if text[place].isalnum()]
        for end in reversed(ends[14:34]):
            if iban.is_valid(text[start:end], check_country=False):
                yield start, end
                after = end
                break
        run = _IBAN.search(text, after)


_B, _E = r"(?<![\w.])", r"(?![\w])"
_NUMBERS: tuple[tuple[str, str], ...] = (
    (r"\d{3}-\d{2}-\d{4}", ""),  # United States: SSN and ITIN, by their shape
    (r"[A-CEGHJ-PR-TW-Za-ceghj-pr-tw-z][A-CEGHJ-NPR-TW-Za-ceghj-npr-tw-z] ?\d\d ?\d\d ?\d\d ?[A-Da-d]", ""),  # UK: NINO
    (r"\d{8}[ -]?[A-Za-z]", "es.dni"),
    (r"[XYZxyz][ -]?\d{7}[ -]?[A-Za-z]", "es.nie"),
    (r"[A-Za-z]{6}[0-9A-Za-z]{2}[A-Za-z][0-9A-Za-z]{2}[A-Za-z][0-9A-Za-z]{3}[A-Za-z]", "it.codicefiscale"),
    (r"[12][ .]?\d\d[ .]?\d\d[ .]?\d[\dABab][ .]?\d{3}[ .]?\d{3}[ .]?\d\d", "fr.nir"),
    (r"\d\d ?\d{3} ?\d{3} ?\d{3}", "de.idnr"),
    (r"\d{8} ?\d ?[A-Za-z0-9]{2}\d", "pt.cc"),
    (r"\d{3}\.\d{3}\.\d{3}-\d\d", "br.cpf"),
    (r"\d{11}", "br.cpf"),
    (r"\d{11}", "pl.pesel"),
    (r"\d{6} ?\d{5}", "no.fodselsnummer"),
    (r"\d{11}", "tr.tckimlik"),
    (r"(?:\d\d)?\d{6}[-+]\d{4}", "se.personnummer"),
    (r"\d{6}[-+A]\d{3}[\dA-Z]", "fi.hetu"),
    (r"\d{6}-\d{4}", "dk.cpr"),
    (r"\d\d\.\d\d\.\d\d-\d{3}\.\d\d", "be.nn"),
    (r"756\.\d{4}\.\d{4}\.\d\d", "ch.ssn"),
    (r"\d{7}[A-Wa-w][A-IWa-iw]?", "ie.pps"),
    (r"\d{13}", "ro.cnp"),
    (r"\d{6}/\d{3,4}", "cz.rc"),
    (r"\d{4}[ -]\d{4}[ -]\d{4}", "in_.aadhaar"),
    (r"[A-Za-z]{5}\d{4}[A-Za-z]", "in_.pan"),
    (r"\d{3}[ -]\d{3}[ -]\d{3}", "ca.sin"),
    (r"\d{1,2}\.\d{3}\.\d{3}-[\dKk]", "cl.rut"),
    (r"[A-Za-z]{4}\d{6}[A-Za-z]{6}[0-9A-Za-z]\d", "mx.curp"),
    (r"\d{17}[\dXx]", "cn.ric"),
)
"""Shape, and the module of python-stdnum that checks it (none: the shape says enough)."""
_ID_WORD = (
    r"(?:passport|reisepass|passeport|pasaporte|passaporto|passaporte|personalausweis|ausweis|identity card|"
    r"id card|national id|carte d.identité|carta d.identità|cart[aã]o de cidad[aã]o|driv(?:er'?s|ing) licen[cs]e|"
    r"führerschein|permis de conduire|patente|social security|sozialversicherung\w*|tax (?:id|number|file)|"
    r"steuer-?(?:id|nummer|identifikationsnummer)|ssn|nino|nif|nie|dni|nir|bsn|tfn|cpf|nhs)"
)
_LABELLED_ID = re.compile(
    rf"(?<!\w){_ID_WORD}(?!\w)(?:[ :.#-]|(?:number|no|nr|num|n[úu]mero|numéro|nummer|is|ist|es|est|è|é)(?!\w)){{1,8}}"
    r"([A-Za-z]{0,3}[ -]?\d[\dA-Za-z]*(?:[ ./-]?\d[\dA-Za-z]*){0,5})",
    re.I,
)


@cache
def _check(module: str) -> Callable[[str], bool]:
    check: Callable[[str], bool] = import_module(f"stdnum.{module}").is_valid
    return check


@cache
def _shapes() -> tuple[tuple[re.Pattern[str], str], ...]:
    return tuple((re.compile(f"{_B}{shape}{_E}"), module) for shape, module in _NUMBERS)


def _ids(text: str, _region: str) -> Iterator[Span]:
    """Numbers of the known shapes with the right check digits; and whatever is called a passport or tax number."""
    for shape, module in _shapes():
        for match in shape.finditer(text):
            if not module or _check(module)(match[0]):
                yield match.span()
    for match in _LABELLED_ID.finditer(text):
        if sum(map(str.isdigit, match[1])) >= 5:
            yield match.span(1)


_FINDERS: dict[Personal, Callable[[str, str], Iterable[Span]]] = {
    Personal.EMAIL: _emails,
    Personal.PHONE: _phones,
    Personal.CARD: _cards,
    Personal.IBAN: _ibans,
    Personal.ID: _ids,
}
