"""Whom a clause is about. When that is unclear it is nobody's.

In own words (role ``subject``) the person is "I"; in a note it is "Customer", their name, a pronoun that can mean no
one else, or nobody named ("Prefers e-mail"), as notes are written.
"""

import re
from dataclasses import dataclass, field
from enum import Enum
from functools import cache, lru_cache

from ingest_pipeline.documents import Role
from ingest_pipeline.extraction import dates
from ingest_pipeline.extraction.patterns import load_patterns
from ingest_pipeline.extraction.sentences import first_word
from ingest_pipeline.extraction.slots import any_of, lexicon


class Subject(Enum):
    PERSON = "person"
    WE = "we"  # the person and others: what "we" do, but not where "we" live
    NONE = "none"  # nothing in front of the verb, at the start of a sentence
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class ClauseStart:
    """``position`` is where the clause goes on behind its subject."""

    subject: Subject
    position: int
    elided: bool = False


_PEOPLE = (
    "boss", "manager", "supervisor", "colleague", "colleagues", "coworker", "co-worker", "wife", "husband", "partner",
    "son", "daughter", "brother", "sister", "mother", "father", "mum", "mom", "dad", "parents", "kids", "children",
    "friend", "friends", "assistant", "secretary", "ceo", "cto", "cfo", "coo", "director", "predecessor",
    "successor", "neighbour", "neighbor", "girlfriend", "boyfriend", "fiancé", "fiancée", "uncle", "aunt", "cousin",
    "employee", "employees", "staff", "counterpart", "owner", "client", "clients", "customers", "supplier", "rep",
    "dispatcher", "driver", "drivers", "deputy", "intern", "accountant", "lawyer", "landlord", "roommate", "flatmate",
)  # fmt: skip
_NOUNS = (
    "customer|client|contact|prospect|lead|user|buyer|subscriber|member|caller|applicant|patient|guest|account holder"
)
_OTHER = re.compile(
    rf"\b(?:his|her|their|my|our|whose|customer's|client's) (?:[\w-]+ ){{0,2}}(?:{'|'.join(_PEOPLE)})\b"
    r"|\b(?:colleague|coworker|co-worker|someone|somebody|another|everyone)\b|(?<!\d )\bpeople\b",
    re.IGNORECASE,
)
_MET = re.compile(
    r"\b(?:spoke|speak|talked|met|chatted|call|called|meeting|meet|visited|demo|lunch|email|emailed|wrote|intro)"
    r"(?: call| meeting)?(?: (?:with|to|from))? (?-i:([A-ZÀ-Þ][\w'-]+))",
    re.IGNORECASE,
)
_REPORTING = (
    r"(?:\s+(?:also |again |then )?(?:says?|said|mentioned|mentions|told (?:me|us)|confirmed|confirms|noted|notes"
    r"|explained|explains"
    r"|reports?|reported|added|thinks|stated|wrote|writes)(?: me| us)?(?: that)?\s+(?:that\s+)?)"
)
_FIRST_PERSON = re.compile(r"(?:my \w+ and |me and my \w+,? )?(i|we)(?=[ '])(?!')? *", re.IGNORECASE)
_NOTE_PRONOUN = re.compile(rf"(?:he|she|they)(?=[ '])(?:{_REPORTING}(?:he|she|they)(?=[ ']))? *", re.IGNORECASE)
_NOTE_NOUN = re.compile(
    r"(?!contact (?:by|via|me|us|him|her|them|only|through|over|on)\b)"
    rf"(?:the |this |our )?(?:{_NOUNS})(?=[ '])(?:{_REPORTING}(?:(?:he|she|they)(?=[ ']))?)? *",
    re.IGNORECASE,
)
_AFTER_NAME = re.compile(rf"(?:{_REPORTING}(?:(?:he|she|they)(?=[ ']))?)? *", re.IGNORECASE)
_NOTE_REPORT = re.compile(rf"{_REPORTING[3:-1]}(?:he|she|they)(?=[ ']) *".replace(r"(?:\s+", "(?:", 1), re.IGNORECASE)
_LEADING_WORDS = re.compile(
    r"(?:(?:on|at) weekends|in my (?:free|spare) time|at the moment|these days|nowadays|personally|in general"
    r"|by the way"
    r"|currently|as you know|for the record|to be honest|honestly|luckily|unfortunately|sadly|hi|hello|hey|well"
    r"|yes|no),? +"
    r"(?=(?:i|we|my|he|she|they|customer|client)\b)",
    re.IGNORECASE,
)
_LEADING_DATE = re.compile(
    r"(?:as of|from|since|in|on|starting|last|next|this|until|by|after|yesterday|today|two|three|a)\b"
    r"[\w ./-]{0,30}?,? (?=(?:i|we|he|she|they|customer|client)\b)",
    re.IGNORECASE,
)
_TITLED = r"(?:(?:mr|mrs|ms|dr|prof)\.? )?"
_TITLE = re.compile(_TITLED, re.IGNORECASE)
_WORD = re.compile(r"['’]?[^\W\d_][\w-]*(?:['’]\w+)?")


@cache
def STARTERS() -> frozenset[str]:
    """Words with which a new clause may start: subjects, verbs, requests."""
    extra = {
        "i",
        "we",
        "he",
        "she",
        "they",
        "customer",
        "client",
        "contact",
        "prospect",
        "please",
        "kindly",
        "could",
        "can",
    }
    extra |= {"would", "if", "from", "mr", "mrs", "ms", "dr", "the", "this", "in"}
    patterns = load_patterns()
    words = (patterns.words | patterns.elided | extra | _adverbs()) - {"been"}
    return frozenset(words)


@cache
def _adverbs() -> frozenset[str]:
    return frozenset(lexicon().adverbs)


@dataclass(slots=True)
class Speaker:
    """Follows who is spoken of through one segment. One object per segment; call ``hear`` for its clauses in order."""

    role: Role
    names: frozenset[str]
    _pronoun_is_person: bool = True
    _last: Subject = Subject.NONE
    _first_clause: bool = field(default=True)

    @property
    def is_own(self) -> bool:
        return self.role is Role.SUBJECT

    def new_sentence(self) -> None:
        self._last = Subject.NONE if self.is_own else Subject.PERSON
        self._first_clause = True

    def hear(self, text: str, start: int, end: int) -> ClauseStart:
        """Whom the clause is about, and where it goes on."""
        words = _LEADING_WORDS.match(text, start, end)
        date = _LEADING_DATE.match(text, start, end)
        if words:
            start = words.end()
        elif date and dates.find(date.group()):
            start = date.end()
        heard = self._own(text, start, end) if self.is_own else self._note(text, start, end)
        self._first_clause = False
        return heard

    def _own(self, text: str, start: int, end: int) -> ClauseStart:
        first = _FIRST_PERSON.match(text, start, end)
        if first:
            self._last = Subject.PERSON if first.group(1).lower() == "i" else Subject.WE
            return ClauseStart(self._last, first.end())
        word = self._word(text, start, end)
        if word in ("he", "she", "they", "it", "you") or _OTHER.match(text, start, end):
            self._last = Subject.OTHER
            return ClauseStart(Subject.OTHER, start)
        if self._first_clause or self._last is Subject.NONE:
            return ClauseStart(Subject.NONE, start)
        return ClauseStart(self._last, start, elided=True)

    def _note(self, text: str, start: int, end: int) -> ClauseStart:
        if _FIRST_PERSON.match(text, start, end):
            self._last = Subject.OTHER
            return ClauseStart(Subject.OTHER, start)
        named = self._named(text, start, end)
        noun = _AFTER_NAME.match(text, named.end(), end) if named else _NOTE_NOUN.match(text, start, end)
        if noun:
            return self._about(Subject.PERSON, noun.end())
        pronoun = _NOTE_PRONOUN.match(text, start, end) or _NOTE_REPORT.match(text, start, end)
        if pronoun:
            subject = Subject.PERSON if self._pronoun_is_person else Subject.OTHER
            self._last = subject
            return ClauseStart(subject, pronoun.end())
        if self._is_someone_else(text, start, end):
            return self._about(Subject.OTHER, start)
        return ClauseStart(self._last, start, elided=True)

    def _named(self, text: str, start: int, end: int) -> re.Match[str] | None:
        """The person's own name at the start of a clause."""
        title = _TITLE.match(text, start, end)
        for position in {start, title.end() if title else start}:
            word = _WORD.match(text, position, end)
            # Looked at before the pattern is made: there is one for each person.
            if word and word.group().casefold().startswith(tuple(self.names)):
                return _name_pattern(self.names).match(text, start, end)
        return None

    def _about(self, subject: Subject, position: int) -> ClauseStart:
        self._last = subject
        self._pronoun_is_person = subject is Subject.PERSON
        return ClauseStart(subject, position)

    def _is_someone_else(self, text: str, start: int, end: int) -> bool:
        """Another person is mentioned, or an unknown name stands before a verb."""
        if _OTHER.search(text, start, end):
            return True
        met = _MET.search(text, start, end)
        if met and self.names and met.group(1).casefold() not in self.names:
            return True
        first = _WORD.match(text, start, end)
        if first is None or not first.group()[0].isupper():
            return False
        word = first_word(first.group())
        if word in STARTERS() or word in self.names:
            return False
        second = _WORD.match(text, min(first.end() + 1, end), end)
        return second is not None and (
            first_word(second.group()) in load_patterns().words or second.group()[0].isupper()
        )

    @staticmethod
    def _word(text: str, start: int, end: int) -> str:
        match = _WORD.match(text, start, end)
        return first_word(match.group()) if match else ""


def speaker_for(role: Role, subject_name: str | None) -> Speaker:
    """A fresh ``Speaker`` for a segment of this role about this person."""
    names = frozenset(w.casefold() for w in _WORD.findall(subject_name or "") if len(w) > 1)
    return Speaker(role, names)


@lru_cache(maxsize=1_000)
def _name_pattern(names: frozenset[str]) -> re.Pattern[str]:
    joined = any_of(names)
    return re.compile(rf"{_TITLED}(?:{joined})(?: (?:{joined}))*(?=[ '])", re.IGNORECASE)
