"""Whether a quote supports a value: names, numbers, addresses and dates must be in it or follow from it.

A number follows from its word ("two" → 2), an abbreviation from the words it abbreviates (VP ↔ vice president), a year
or month from a stated date as resolved ("last month" → April). Wording is free; these are not.
"""

import re
import unicodedata
from collections.abc import Callable
from datetime import datetime

from ingest_pipeline.documents import Json
from ingest_pipeline.extraction.traits import Trait

LITERAL_TRAITS = frozenset({"name", "company", "job_title", "location"})
"""Default traits whose every word must be in the quote."""

_SMALL = frozenset({"a", "an", "and", "at", "de", "der", "di", "for", "in", "la", "of", "on", "our", "the", "to"})
_SHORT = {
    "vp": "vice president", "svp": "senior vice president", "evp": "executive vice president",
    "md": "managing director",
    "ceo": "chief executive officer", "cto": "chief technology officer", "cfo": "chief financial officer",
    "coo": "chief operating officer", "cmo": "chief marketing officer", "cio": "chief information officer",
    "ciso": "chief information security officer", "hr": "human resources", "it": "information technology",
    "sr": "senior", "jr": "junior", "mgr": "manager", "dir": "director", "eng": "engineering", "mktg": "marketing",
    "ops": "operations", "asst": "assistant", "exec": "executive", "uk": "united kingdom", "usa": "united states",
    "us": "united states", "nyc": "new york city", "sf": "san francisco", "la": "los angeles",
}  # fmt: skip
_UNITS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
)  # fmt: skip
_NUMBER_WORDS = {word: str(n) for n, word in enumerate(_UNITS)} | {
    "thirty": "30", "forty": "40", "fifty": "50", "sixty": "60", "seventy": "70", "eighty": "80", "ninety": "90",
    "hundred": "100", "thousand": "1000", "million": "1000000", "dozen": "12", "twice": "2", "once": "1",
    "first": "1", "second": "2", "third": "3", "fourth": "4", "fifth": "5", "both": "2", "couple": "2", "half": "50",
}  # fmt: skip
_CLAIMED_WORDS = frozenset(_UNITS[2:]) | {"thirty", "forty", "fifty", "hundred", "thousand", "million", "dozen"}
_DATE_NAMES = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday",
)  # fmt: skip
_NUMBER = re.compile(r"(\d+(?:[.,:]\d+)*)(k|m)?(?![^\W\d_])|(\d+)", re.IGNORECASE)
_WORD = re.compile(r"[^\W_]+")
_ADDRESS = re.compile(r"[\w.+-]{1,64}@[\w.-]{1,255}|https?://\S{1,500}")
_CAPITALISED = re.compile(r"(?<![.!?]\s)(?<!^)(?<![^\W_])[^\W\d_]*[A-ZÀ-ÖØ-Þ][\w-]*")


def supports_trait(trait: Trait | None, key: str, value: Json, quote: str) -> bool:
    """``trait`` is None for a key outside the schema, whose value the fold will reject anyway."""
    if isinstance(value, bool):
        return True
    if isinstance(value, int | float):
        return _numbers(f"{value:g}" if isinstance(value, float) else str(value)) <= _quoted_numbers(quote)
    if not isinstance(value, str) or trait is None or trait.value_type == "enum":
        return True
    if key in LITERAL_TRAITS:
        return _has_words(value, quote)
    if key == "timezone" or " ".join(value.split()).casefold() in trait.spellings:
        return True
    return _has_addresses(value, quote) and _numbers(value) <= _quoted_numbers(quote)


def supports_memory(
    sentence: str, quote: str, context: Callable[[], str], names: str, effective_at: datetime | None
) -> bool:
    """Numbers, dates and addresses of the sentence are in the quote; names may also be elsewhere in the segment.

    A self-contained sentence names what the quote calls "it", so ``context`` (the segment's text, asked for only
    when needed) and ``names`` (the subject's) count for capitalised words.
    """
    allowed = _quoted_numbers(quote)
    words = set(map(_plain, _WORD.findall(quote)))
    if effective_at:
        allowed |= {str(n) for n in (effective_at.year, effective_at.month, effective_at.day)}
        words |= {_DATE_NAMES[effective_at.month - 1], _DATE_NAMES[12 + effective_at.weekday()]}
    said = sentence.strip()
    if not _numbers(said) <= allowed or not _has_addresses(said, quote):
        return False
    claimed = {_plain(word) for word in _CAPITALISED.findall(said)} - words
    if not claimed:
        return True
    if any(word in _DATE_NAMES and not _abbreviated(word, words) for word in claimed):
        return False
    wider = f"{quote} {context()} {names}"
    return all(_follows(word, wider) for word in claimed if word not in _DATE_NAMES)


def _plain(text: str) -> str:
    """Case and accents do not matter when words are compared."""
    folded = text.casefold()
    if folded.isascii():
        return folded
    return "".join(c for c in unicodedata.normalize("NFKD", folded) if not unicodedata.combining(c))


def _has_words(value: str, quote: str) -> bool:
    """Every word of the value is in the quote, short or written out. Order and small words do not matter."""
    plain = _plain(value)
    if any(char > "\u2e80" for char in plain):  # no spaces between words there
        return "".join(plain.split()) in "".join(_plain(quote).split())
    there = _words(quote)
    there |= {word for short in there & _SHORT.keys() for word in _SHORT[short].split()}
    wanted = [word for word in _WORD.findall(plain) if word not in _SMALL] or _WORD.findall(plain)
    return bool(wanted) and all(word in there or _written_out(word, there) for word in wanted)


def _written_out(word: str, there: set[str]) -> bool:
    return word in _SHORT and set(_SHORT[word].split()) <= there


def _words(text: str) -> set[str]:
    return set(_WORD.findall(_plain(text)))


def _follows(word: str, text: str) -> bool:
    """The word, another form of it ("Germany" → "German"), or the words that it abbreviates (SSO)."""
    words = _words(text)
    if all(part in words for part in _WORD.findall(word)) or _written_out(word, words):
        return True
    if len(word) >= 5 and any(other.startswith(word[:5]) for other in words):
        return True
    return 3 <= len(word) <= 6 and word in "".join(w[0] for w in _WORD.findall(_plain(text)) if w not in _SMALL)


def _abbreviated(name: str, words: set[str]) -> bool:
    return name[:3] in words or name[:4] in words


def _numbers(text: str) -> set[str]:
    """The numbers that a text claims: digits, and number words that cannot mean anything else."""
    found = {word for word in map(str.casefold, _WORD.findall(text)) if word in _CLAIMED_WORDS}
    return {_canonical(m.group(1) or m.group(3)) for m in _NUMBER.finditer(text)} | {_NUMBER_WORDS[w] for w in found}


def _quoted_numbers(text: str) -> set[str]:
    """Every reading of the numbers in a quote: 20k is 20 and 20000, "two" is 2, 3:30 is also 3 and 30."""
    found: set[str] = set()
    for match in _NUMBER.finditer(text):
        number = match.group(1) or match.group(3)
        found |= {_canonical(number), *(part.lstrip("0") or "0" for part in re.split(r"[.,:]", number))}
        scale = {"k": 1_000, "m": 1_000_000}.get((match.group(2) or "").lower())
        if scale and number.isdecimal() and len(number) < 10:
            found.add(str(int(number) * scale))
    return found | {_NUMBER_WORDS[w] for w in map(str.casefold, _WORD.findall(text)) if w in _NUMBER_WORDS}


def _canonical(number: str) -> str:
    """1,200 is 1200, 02 is 2, 1.50 is 1.5."""
    if re.fullmatch(r"\d{1,3}(,\d{3})+", number):
        number = number.replace(",", "")
    whole, dot, fraction = number.partition(".")
    if dot and fraction.isdecimal():
        fraction = fraction.rstrip("0")
        return f"{whole.lstrip('0') or '0'}.{fraction}" if fraction else whole.lstrip("0") or "0"
    return number.lstrip("0") or "0"


def _has_addresses(value: str, quote: str) -> bool:
    if "@" not in value and "://" not in value:
        return True
    plain = quote.casefold()
    return all(address.rstrip(".,;)").casefold() in plain for address in _ADDRESS.findall(value))
