"""What the {slots} of the offline patterns match, and how the matched words become values.

| slot | matches | value |
|---|---|---|
| place | a known city, region or country | as written |
| anyplace | one to four capitalised words | as written |
| company, name, fullname | capitalised words | as written |
| role | words around a role noun | without article |
| lang, chan, tz, enthusiast, style | known words | canonical |
| list, hobbies, topics | a list of things; of known hobbies; of things that one does not do | its elements |
| np, goal, strategic_goal | the rest of the clause | in the third person |
| n | a number | as written |

A slot may end in a digit, so that one pattern can have two. A cleaner gives the value, or None: then there is no match.
"""

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

from ingest_pipeline.extraction import dates
from ingest_pipeline.extraction.rephrase import in_third_person

_CAP = r"(?-i:[A-ZÀ-ÖØ-ÞČŁŚŠŻŽ])"
_CAP_WORD = rf"{_CAP}[\w'’&.+-]{{0,30}}"
_PHRASE = r"[^\n.;:!?()\"“”]{2,100}"
_NUMBER = r"(?:\d[\d.,]*|one|two|three|four|five|six|seven|eight|nine|ten|twelve|fifteen|twenty|thirty|forty)"
_ROLE_STOP = (
    r"(?:at|with|here|in|from|but|who|since|now|so|because|as|working|based|which|that|than|when|i|we|my|not"
    r"|last|this|next|yesterday|today|recently|two|on|by|please|per|to|no|longer|promoted|wants|is)"
)
_OFFSET = r"(?:UTC|GMT)\s?[+−-]\s?\d{1,2}(?::?[0-5]\d)?"
_ZONE_AREA = r"(?:Africa|America|Asia|Atlantic|Australia|Europe|Pacific)/[A-Z]\w+(?:/[A-Z]\w+)?"
_ZONE_NAME = (
    r"(?:CES?T|EES?T|WES?T|UTC|GMT|P[SD]T|E[SD]T|M[SD]T|CDT|AE[SD]T|JST|SGT|HKT|BRT"
    r"|(?:(?:US |Central European|Eastern European|Greenwich Mean|Pacific|Eastern|Mountain|Central|Indian?|Japan|UK"
    r"|Singapore|Sydney)(?: Standard| Daylight| Summer)? [Tt]ime)|Pacific(?= time)|Eastern(?= time))"
)
_ZONE_ALIASES = {"cest": "CET", "eest": "EET"}
_MAX_WORDS = 11
"""A longer rest of a clause has more in it than one thing."""
_BAD_STARTS = frozenset(
    {"it", "this", "that", "these", "those", "them", "him", "her", "me", "us", "you", "your", "what", "how", "if"}
    | {"whether", "why", "where", "when", "to", "which", "who", "everything", "something", "anything", "nothing", "so"}
    | {"not", "there", "any", "some", "being", "getting", "having", "hearing", "seeing", "knowing", "more", "other"}
    | {"i", "we", "they", "he", "she"}
)
_NOT_NAMES = frozenset(
    {
        "i",
        "the",
        "a",
        "an",
        "this",
        "that",
        "it",
        "my",
        "our",
        "we",
        "you",
        "he",
        "she",
        "they",
        "here",
        "there",
        "hi",
        "ok",
    }
    | {
        "hello",
        "thanks",
        "thank",
        "please",
        "yes",
        "no",
        "not",
        "sorry",
        "english",
        "internet",
        "email",
        "re",
        "fwd",
        "home",
    }
    | {"january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november"}
    | {"december", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday", "today", "tomorrow"}
    | {
        "christmas",
        "easter",
        "q1",
        "q2",
        "q3",
        "q4",
        "happy",
        "glad",
        "looking",
        "writing",
        "currently",
        "also",
        "just",
    }
)
_TAIL = re.compile(
    r",?\s+(?:but|because|so|which|who|since|when|while|if|unless|although|though|and (?:i|we|he|she|they|it|that)"
    r"|as (?:i|we|he|she|they|it|the)|please|thanks|thank you|and so on|etc)\b.*$|,\s.*$",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Lexicon:
    """The word lists of ``lexicon.toml``, case-folded where they are looked up."""

    adverbs: tuple[str, ...]
    channels: Mapping[str, str]
    role_nouns: tuple[str, ...]
    goal_verbs: tuple[str, ...]
    hobbies: frozenset[str]
    enthusiasts: Mapping[str, str]
    places: frozenset[str]
    languages: Mapping[str, str]


@cache
def lexicon() -> Lexicon:
    """Read from the package once."""
    data = tomllib.loads(resources.files(__package__).joinpath("lexicon.toml").read_text(encoding="utf-8"))
    places = data["places"]
    return Lexicon(
        adverbs=tuple(data["adverbs"]),
        channels={word: channel for channel in ("email", "phone", "chat") for word in data[channel]},
        role_nouns=tuple(data["role_nouns"]),
        goal_verbs=tuple(data["goal_verbs"]),
        hobbies=frozenset(data["hobbies"]),
        enthusiasts=data["enthusiasts"],
        places=frozenset(p.casefold() for group in ("countries", "regions", "cities") for p in places[group]),
        languages={word.casefold(): name for name, words in data["languages"].items() for word in words},
    )


def any_of(words: object) -> str:
    """An alternation, longest first."""
    return "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))  # type: ignore[call-overload]


@cache
def slot_patterns() -> Mapping[str, str]:
    """Slot -> the regular expression that it matches. None has nested repetition without a bound."""
    words = lexicon()
    return {
        "place": rf"{_CAP_WORD}(?: (?:(?:de|do|da|del|la|am|of|upon) )?{_CAP_WORD}){{0,3}}",
        "anyplace": rf"(?:the )?{_CAP_WORD}(?: (?:(?:de|do|da|del|la|am|of|upon) )?{_CAP_WORD}){{0,3}}",
        "company": rf"(?:the )?{_CAP_WORD}(?: (?:(?:&|of|and|de|für|for) )?(?:{_CAP_WORD}|\d+)){{0,4}}",
        "name": rf"{_CAP_WORD}(?: (?:(?:van|von|de|der|den|da|dos|al|bin|el|la) ){{0,2}}{_CAP_WORD}){{0,3}}",
        "fullname": rf"{_CAP_WORD}(?: (?:(?:van|von|de|der|den|da|dos|al|bin|el|la) ){{0,2}}{_CAP_WORD}){{1,3}}",
        "role": rf"(?:(?!{_ROLE_STOP}\b)[\w/&+'’-]+)(?: (?!{_ROLE_STOP}\b)[\w/&+'’-]+){{0,6}}",
        "lang": rf"(?:{any_of(words.languages)})(?!\w)",
        "chan": rf"(?:{any_of(words.channels)})(?!\w)",
        "tz": rf"(?-i:{_OFFSET}|{_ZONE_AREA}|{_ZONE_NAME})(?!\w)",
        "enthusiast": rf"(?:{any_of(words.enthusiasts)})\b",
        "list": _PHRASE,
        "hobbies": _PHRASE,
        "topics": _PHRASE,
        "np": _PHRASE,
        "goal": _PHRASE,
        "inf": rf"to (?!(?:be|know|say|see|hear|ask|have you)\b){_PHRASE}",
        "strategic_goal": rf"(?:{any_of(words.goal_verbs)})\b[^\n.;:!?()\"“”]{{0,100}}",
        "n": _NUMBER,
    }


def _capitalised(text: str) -> str | None:
    value = text.strip().rstrip(".,'’-&")
    value = value.removeprefix("the ").strip()
    if value.endswith(("'s", "’s")):
        value = value[:-2]
    return value if value and value.split()[0].casefold() not in _NOT_NAMES else None


def _place(text: str, own: bool) -> str | None:
    """The longest known place at the start: "Lisbon Portugal" is Lisbon."""
    words = text.split()
    for count in range(len(words), 0, -1):
        value = " ".join(words[:count]).rstrip(".,'’-&")
        if value.casefold() in lexicon().places:
            return value
    return None


def _anyplace(text: str, own: bool) -> str | None:
    value = _capitalised(text)
    if value is None or value.casefold() in lexicon().languages:
        return None
    return value


def _company(text: str, own: bool) -> str | None:
    value = _capitalised(text)
    if value is None or value.casefold() in lexicon().places or value.casefold() in lexicon().languages:
        return None
    if any(word.casefold() in _NOT_NAMES - {"the", "a"} for word in value.split()[1:]):
        value = value.split()[0]
    return value if len(value) > 1 else None


def _name(text: str, own: bool) -> str | None:
    value = _capitalised(text)
    if value is None or any(word.casefold() in _NOT_NAMES for word in value.split()):
        return None
    known = lexicon()
    return None if value.casefold() in known.places or value.casefold() in known.languages else value


_ARTICLES = re.compile(r"^(?:(?:an?|the|our|their|new|newly appointed|current|proud|very|happy)\s+)+", re.IGNORECASE)


@cache
def _role_noun() -> re.Pattern[str]:
    return re.compile(rf"\b(?:{any_of(lexicon().role_nouns)})s?\b(?!-)", re.IGNORECASE)


_OF_COMPANY = re.compile(r"\b((?i:ceo|cto|cfo|coo|cmo|cio|(?:co-?)?founder|owner)) of [A-ZÀ-Þ].*$")
_LEADING = frozenset({"vp", "head", "director", "chief"})
_VAGUE = frozenset({"lead", "head", "chief", "principal", "chair", "agent", "partner", "owner"})


def _role(text: str, own: bool) -> str | None:
    """Up to the last role noun, and "of …" behind it: "head of data", "senior engineer", not "lead contact"."""
    value = re.sub(r"(?: (?:and|or|of|a|the|&|-))+$", "", _ARTICLES.sub("", text.strip(" -–'’")))
    value = re.split(r"\s+(?:for|and (?=he\b|she\b|they\b|the\b|a\b|has\b|is\b))\s*", value)[0]
    value = _OF_COMPANY.sub(r"\1", value)
    of = re.match(r"(.*?)\s+of\s+(.+)$", value, re.IGNORECASE)
    title = of.group(1) if of else value
    nouns = list(_role_noun().finditer(title))
    if not nouns or (nouns[-1].end() != len(title.rstrip()) and (of or nouns[-1].group().casefold() not in _LEADING)):
        return None
    if not of and title.casefold() in _VAGUE:
        return None
    return value if len(value.split()) <= 7 else None


def _language(text: str, own: bool) -> str | None:
    return lexicon().languages.get(text.casefold())


def _channel(text: str, own: bool) -> str | None:
    return lexicon().channels.get(text.casefold().replace("voicemail", "phone"))


def _zone(text: str, own: bool) -> str | None:
    match = re.fullmatch(r"(?:UTC|GMT)\s?([+−-])\s?(\d{1,2})(?::?([0-5]\d))?", text)
    if match:
        sign = "+" if match.group(1) == "+" else "-"
        hours = int(match.group(2))
        return f"UTC{sign}{hours:02}:{match.group(3) or '00'}" if hours <= 14 else None
    return _ZONE_ALIASES.get(text.casefold(), text)


def _enthusiast(text: str, own: bool) -> str | None:
    return lexicon().enthusiasts.get(text.casefold())


def phrase(text: str, own: bool) -> str | None:
    """The start of the clause's rest that stands for itself, in the third person when the words are one's ``own``."""
    value = _TAIL.sub("", text.strip())
    for span in reversed(dates.find(value)):
        if is_relative(span.phrase):
            value = value[: span.start].rstrip() + value[span.end :]
    value = value.strip(" ,-–'’")
    if len(value.split()) > _MAX_WORDS:
        value = value.partition(" and ")[0]
    words = value.split()
    if not words or len(words) > _MAX_WORDS or words[0].casefold() in _BAD_STARTS:
        return None
    return in_third_person(value) if own else value


def _infinitive(text: str, own: bool) -> str | None:
    rest = phrase(text.removeprefix("to "), own)
    return None if rest is None else f"to {rest}"


_RELATIVE = re.compile(
    r"\b(?:last|next|this|past|previous|coming|yesterday|today|tonight|tomorrow|ago|now|immediately"
    r"|the (?:month|week|year|quarter)|(?:in|within) [\w ]{1,12} (?:day|week|month|year)s?)\b",
    re.IGNORECASE,
)


def is_relative(date_phrase: str) -> bool:
    """Whether a date phrase says nothing by itself, later: "next month", but not "in June"."""
    return _RELATIVE.search(date_phrase) is not None


def elements(text: str, own: bool) -> tuple[str, ...]:
    """The things of a list: "cycling, chess and wine" → three. Stops where the list does."""
    found = []
    rest = _TAIL_OF_LIST.sub("", text.strip())
    for part in re.split(r",\s*(?:and\s+|or\s+)?|\s+(?:and|or|&|as well as)\s+(?:also\s+)?", rest):
        value = _LIST_ARTICLE.sub("", part.strip(" -–'’"))
        for span in reversed(dates.find(value)):
            value = (value[: span.start].rstrip() + value[span.end :]).strip()
        words = value.split()
        if not words or len(words) > 4 or words[0].casefold() in _BAD_STARTS or _SPOKEN_TO.search(value):
            break
        found.append(in_third_person(value) if own else value)
    return tuple(value for value in found if value)


_TAIL_OF_LIST = re.compile(
    r",?\s+(?:but|because|so|which|since|when|while|if|at the moment|in my|in his|in her|these days|right now"
    r"|on weekends"
    r"|at weekends|every|with my|with his|with her|and (?:i|we|he|she|they|it|that|the|my|would|wants?|asked)"
    r"|as (?:i|we|it)"
    r"|for|good for|very much|a lot|more than|rather than|than)\b.*$",
    re.IGNORECASE | re.DOTALL,
)
_LIST_ARTICLE = re.compile(r"^(?:the|a|an|playing|watching|doing|going)\s+", re.IGNORECASE)
_SPOKEN_TO = re.compile(r"\b(?:you|your|yours|me|it)\b", re.IGNORECASE)


def hobbies(text: str, own: bool) -> tuple[str, ...]:
    """The elements of a list up to the first that is not a known hobby."""
    found = []
    for element in elements(text, own):
        name = element.casefold()
        known = next((h for h in (name, " ".join(name.split()[:2]), name.split()[0]) if h in lexicon().hobbies), None)
        if known is None:
            break
        found.append(known)
    return tuple(found)


def topics(text: str, own: bool) -> tuple[str, ...]:
    """The elements of a list up to the first that is something to do ("fetching"), unless it is a known hobby."""
    found = elements(text, own)
    busy = [n for n, e in enumerate(found) if e.split()[0].endswith("ing") and e.casefold() not in lexicon().hobbies]
    return found[: busy[0]] if busy else found


CLEANERS: Mapping[str, Callable[[str, bool], str | None]] = {
    "place": _place, "anyplace": _anyplace, "company": _company, "name": _name, "fullname": _name, "role": _role,
    "lang": _language, "chan": _channel, "tz": _zone, "enthusiast": _enthusiast, "np": phrase, "goal": phrase,
    "strategic_goal": phrase, "inf": _infinitive,
}  # fmt: skip
LISTS: Mapping[str, Callable[[str, bool], tuple[str, ...]]] = {"list": elements, "hobbies": hobbies, "topics": topics}
