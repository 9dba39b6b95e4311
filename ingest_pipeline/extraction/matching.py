"""A clause and its subject to what it says: the pattern for its verb, the slots' values, the claims."""

import calendar
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache

from ingest_pipeline.documents import Role
from ingest_pipeline.extraction.patterns import Claim, Pattern, load_patterns
from ingest_pipeline.extraction.rephrase import in_third_person, third_person_verb
from ingest_pipeline.extraction.sentences import first_word
from ingest_pipeline.extraction.slots import CLEANERS, LISTS, any_of, is_relative, lexicon
from ingest_pipeline.extraction.speakers import ClauseStart, Speaker, Subject

_WORD = re.compile(r"['’]?[^\W\d_][\w-]*(?:['’]\w+)?")
_HAVE = frozenset({"have", "'ve", "has", "'s"})
_OWN_FIRST = frozenset({"my", "our"})
_OWN_THIRD = frozenset({"his", "her", "their", "customer", "client"})
_POLITE = re.compile(
    r"(?:please|kindly|(?:could|can|would|will) (?:you|we)(?: please| kindly)?(?: possibly| maybe| also)?"
    r"|would you mind"
    r"|(?:i'd|i would|we'd|we would) (?:appreciate it|be (?:happy|glad|grateful)) if you (?:could|would)?|so|then"
    r"|and|but|also"
    r"|(?:next time|in (?:the )?future|from now on|for (?:the )?future|if (?:at all )?possible|whenever possible),?"
    r"|(?:i'd|i would|we'd|we would) (?:like|ask) you to|(?:i|we) (?:want|need|ask) you to|you (?:can|may|could)"
    r"|it would be (?:great|nice|good|helpful) if you (?:could|would)|may i ask you to|let's|let us|try to|just"
    r"|always|in general,?"
    r"|generally,?|when you (?:write|answer|reply),?|feel free to|and so|maybe|perhaps|:|,)\s+",
    re.IGNORECASE,
)
_CHANNEL_WORDS = {
    "email": ("e-mail", "e-mail"),
    "phone": ("phone calls", "the phone"),
    "chat": ("chat messages", "chat"),
}
_FAILING = ("keep", "stopped working", "broken", "failing", "crash", "not working", "unusable")
"""Cheap to look for; one of them is in every complaint."""
_ELIDED_OWN = frozenset({"moved", "relocated", "based", "living", "joined"})
_SENTENCES_OF_NUMBERS = {
    "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
    "twelve": 12, "fifteen": 15, "twenty": 20, "thirty": 30, "forty": 40,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Match:
    """A pattern that fits, with the values of its slots; a list slot's values are a tuple."""

    pattern_claims: tuple[Claim, ...]
    values: Mapping[str, str | tuple[str, ...]]
    dated: bool = False

    def claims(self, stated: str | None, moment: datetime | None) -> Iterator[Claim]:
        """The claims with their slots filled; one per element of a list. Those with an empty slot are left out."""
        when = date_words(stated, None)
        values = {**self.values, "when": when, "date": date_words(stated, moment)}
        if self.dated and not values["date"]:
            return
        for claim in self.pattern_claims:
            for value in _fill(claim.value, values):
                yield replace(claim, value=_finish(value) if claim.memory else value)


def match_clause(
    text: str, start: ClauseStart, end: int, sentence_end: int, is_question: bool, role: Role
) -> Match | None:
    """What the clause says of the person, by the first pattern that fits.

    A request is read to the end of its sentence: "call me, I never read e-mail" is about the two together.
    """
    if start.subject is Subject.OTHER:
        return None
    position = _skip_adverbs(text, start.position, end)
    own_words = role is Role.SUBJECT
    for pattern, regex, at in _candidates(text, position, end, start, own_words):
        if role not in pattern.roles or (is_question and not pattern.question):
            continue
        found = regex.match(text, at, sentence_end if pattern.whole else end)
        if found is None or (pattern.needs_word and not pattern.needs_word.search(found.group())):
            continue
        match = _evaluate(pattern, found, own_words)
        if match is not None:
            return match
    return None


def complains(sentence: str) -> bool:
    """Whether ``complaint`` may find something; much cheaper."""
    return any(sign in sentence for sign in _FAILING)


def complaint(text: str, start: int, end: int, speaker: Speaker) -> Match | None:
    """Something that keeps failing, in whatever words the clause begins."""
    found = load_patterns().complaint.search(text, start, end)
    if found is None or (found.group("whose").lower() in ("my", "our") and not speaker.is_own):
        return None
    whose = {"your": "the", "my": "their", "our": "their"}.get(found.group("whose").lower(), "the")
    does = in_third_person(found.group("does"))
    noun = found.group("np")
    if does is None or re.match(r"(?:\w+ )*(?:i|we|you|he|she|they|it|that|which)\b", noun, re.IGNORECASE):
        return None
    claim = Claim("Reported that {whose} {np} {does}.", 0.85, memory="context", importance=0.35)
    return Match((claim,), {"whose": whose, "np": noun, "does": does})


def _candidates(
    text: str, position: int, end: int, start: ClauseStart, own_words: bool
) -> Iterator[tuple[Pattern, re.Pattern[str], int]]:
    """(pattern, regex, where to match it), for every way to read the words at ``position``."""
    patterns = load_patterns()
    word = _first(text, position, end)
    has_subject = start.subject in (Subject.PERSON, Subject.WE) and not (start.elided and own_words and not word)
    if has_subject or (own_words and word in _ELIDED_OWN):
        for pattern in patterns.by_word.get(word, ()):
            if pattern.person and (pattern.we or start.subject is not Subject.WE):
                yield pattern, pattern.regex, position
        if word in _HAVE:
            after = _skip_adverbs(text, _after_word(text, position, end), end)
            for pattern in patterns.by_word.get(_first(text, after, end), ()):
                if pattern.person and (pattern.we or start.subject is not Subject.WE):
                    yield pattern, pattern.regex, after
    if (start.elided and not own_words and word in patterns.elided) or (
        own_words and word == "based" and start.subject is Subject.NONE
    ):
        for pattern in patterns.bare:
            if pattern.bare is not None:
                yield pattern, pattern.bare, position
    if start.subject is Subject.NONE or start.elided:
        yield from _requests(text, position, end, own_words)
        if position != start.position:
            yield from _requests(text, start.position, end, own_words)
    elif word == "'s":
        yield from ((pattern, pattern.regex, position) for pattern in patterns.by_word["'s"] if pattern.own)


def _requests(text: str, position: int, end: int, own_words: bool) -> Iterator[tuple[Pattern, re.Pattern[str], int]]:
    """Requests, behind any words of politeness, and statements that start with "my …" or "the best way …"."""
    by_word = load_patterns().by_word
    for _ in range(4):
        word = _first(text, position, end)
        if not (word in _OWN_FIRST and not own_words) and not (word in _OWN_THIRD and own_words):
            for pattern in by_word.get(word, ()):
                if pattern.request or pattern.own:
                    yield pattern, pattern.regex, position
        polite = _POLITE.match(text, position, end)
        if polite is None:
            return
        position = polite.end()


@cache
def _adverbs() -> re.Pattern[str]:
    return re.compile(rf"(?:(?:{any_of(lexicon().adverbs)})(?![\w'])[ ,]+){{0,3}}", re.IGNORECASE)


def _skip_adverbs(text: str, position: int, end: int) -> int:
    match = _adverbs().match(text, position, end)
    return match.end() if match else position


def _first(text: str, position: int, end: int) -> str:
    match = _WORD.match(text, position, end)
    return first_word(match.group()) if match else ""


def _after_word(text: str, position: int, end: int) -> int:
    match = _WORD.match(text, position, end)
    stop = match.end() if match else position
    while stop < end and text[stop] == " ":
        stop += 1
    return stop


def _evaluate(pattern: Pattern, found: re.Match[str], own_words: bool) -> Match | None:
    groups = {name: text for name, text in found.groupdict().items() if text is not None}
    if pattern.ends_state and not groups.get("tail") and not groups["verb"].lower().endswith("no longer"):
        return None
    values: dict[str, str | tuple[str, ...]] = {}
    for name, text in groups.items():
        base = name.rstrip("123456789")
        cleaned: str | tuple[str, ...] | None = text
        if base in LISTS:
            cleaned = LISTS[base](text, own_words)
        elif base in CLEANERS:
            cleaned = CLEANERS[base](text, own_words)
        if cleaned:
            values[name] = cleaned
    if pattern.np_starts and str(values.get("np", "")).split(" ")[0].casefold() not in pattern.np_starts:
        return None
    if not pattern.requires <= values.keys():
        return None
    _derive(values, groups, own_words)
    claims = tuple(
        c for c in pattern.claims if all(slot in values or slot in ("when", "date") for slot in _slots(c.value))
    )
    return Match(claims, values, pattern.dated) if claims else None


def _derive(values: dict[str, str | tuple[str, ...]], groups: Mapping[str, str], own_words: bool) -> None:
    """Slots that are computed from others: capitalised verbs, channel names, levels from years."""
    verb = groups.get("verb", "")
    values |= {"verb": verb.lower(), "Verb": verb[:1].upper() + verb[1:].lower(), "verb_s": third_person_verb(verb)}
    for name in ("how", "ing"):
        if name in groups:
            values[name] = groups[name][:1].lower() + groups[name][1:]
    if ing := re.search(r"\w+ing(?: \w+)?$", verb):
        values["verb_ing"] = ing.group().lower()
    match = groups.get("match", "")
    match = match[:1].lower() + match[1:]
    values["match"] = (in_third_person(match) or "").strip()
    if "what" in groups or "does" in groups:
        what = groups.get("what") or verb.removeprefix("the ")
        values["What"] = what[:1].upper() + what[1:]
    if isinstance(values.get("chan"), str):
        values["chan_words"], values["chan_medium"] = _CHANNEL_WORDS[str(values["chan"])]
    if "n" in groups:
        digits = groups["n"].rstrip(".,")
        years = _SENTENCES_OF_NUMBERS.get(digits.lower()) or (
            int(digits) if digits.isdecimal() and len(digits) < 3 else 0
        )
        level = "expert" if years >= 10 else "advanced" if years >= 4 else "intermediate"
        if 0 < years < 70:
            values["years_level"] = level


@cache
def _slots(template: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\{(\w+)\}", template))


def _fill(template: str, values: Mapping[str, str | tuple[str, ...]]) -> Iterator[str]:
    listed = next((slot for slot in _slots(template) if isinstance(values[slot], tuple)), None)
    if listed is None:
        yield template.format(**values)
        return
    for element in values[listed]:
        yield template.format(**{**values, listed: element})


_WEEKDAY = re.compile(r"(?:on )?\w+day$", re.IGNORECASE)


def date_words(stated: str | None, moment: datetime | None) -> str:
    """ " in June" for a date that still says something later; for a relative one its month, when it is known."""
    if stated and not is_relative(stated) and not _WEEKDAY.match(stated):
        head, space, rest = stated.strip().partition(" ")
        return f" {head.lower() if space and head.isalpha() and head not in _KEEP else head}{space}{rest}"
    return f" in {moment:%B %Y}" if moment else ""


_KEEP = frozenset(month for n in range(1, 13) for month in (calendar.month_name[n], calendar.month_abbr[n]))


def _finish(sentence: str) -> str:
    """One space between words, a capital first, one full stop."""
    text = " ".join(sentence.split()).rstrip(" .,;:-!?") + "."
    return text[:1].upper() + text[1:]
