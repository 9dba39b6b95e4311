"""The offline extractor: no key, no network, the same answer every time. Patterns are data (``patterns.toml``).

    segment ─sentences─▶ sentence ─guards─▶ clauses ─who is it about?─▶ pattern by verb ─▶ candidates ─ground─▶

It is made to be right rather than complete: a clause counts only when it starts with the person (I, "Customer", a
pronoun that is clear, or nothing where that is usual) and a known verb directly behind. So "I don't live in Paris",
"my wife lives in Paris" and "he says I live in Paris" match nothing, without a rule for each.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property

from ingest_pipeline.documents import Document, Role, Segment
from ingest_pipeline.extraction import dates, guards
from ingest_pipeline.extraction.base import Candidate, Extraction, Kind, MemoryType, Status
from ingest_pipeline.extraction.definitions import overlaid
from ingest_pipeline.extraction.fields import field_candidates
from ingest_pipeline.extraction.grounding import ground
from ingest_pipeline.extraction.matching import Match, complains, complaint, date_words, match_clause
from ingest_pipeline.extraction.patterns import Claim, load_patterns
from ingest_pipeline.extraction.sentences import clauses, sentences
from ingest_pipeline.extraction.signature import signature_candidates, signature_version
from ingest_pipeline.extraction.speakers import STARTERS, Speaker, speaker_for
from ingest_pipeline.extraction.traits import TraitSchema, ValueRejected

_FLAT = {ord(c): " " for c in "\n\r\t\xa0\u2009\u202f"} | {ord("’"): "'", ord("‘"): "'", ord("ʼ"): "'"}
_MAX_QUOTE = 320
"""A longer sentence is quoted by its clause."""
_TO_COME = {
    "location": "Will be based in {value}{when}.",
    "company": "Will work at {value}{when}.",
    "job_title": "Will be {value}{when}.",
}
_ENDS = frozenset({"until", "till", "by", "before"})
_DATED_TRAITS = frozenset({"location", "company", "job_title", "interests", "contact_preference", "preferred_language"})
_MAX_SEGMENT = 200_000
"""Characters of one segment that are read; a longer one is a pasted log or book."""


@dataclass(frozen=True)
class OfflineExtractor:
    """``Extractor`` without a model. Safe to use from several threads: it keeps no state between documents."""

    schema: TraitSchema
    timezone: str = "UTC"

    @property
    def model(self) -> str:
        return "offline"

    @cached_property
    def fingerprint(self) -> str:
        return f"offline:{load_patterns().version}.{signature_version()}:{self.schema.fingerprint[:32]}:{self.timezone}"

    def extract(self, documents: Sequence[Document]) -> Iterator[Extraction]:
        """One outcome per document, in order."""
        for document in documents:
            asking = replace(self, schema=overlaid(self.schema, document.definitions)) if document.definitions else self
            grounded = ground(document, asking.candidates(document), asking.schema, self.timezone)
            status = Status.OK if grounded.observations else Status.EMPTY
            yield Extraction(document.id, status, grounded.observations, grounded.dropped)

    def check(self) -> None:
        """Nothing can be missing."""

    def close(self) -> None:
        """Nothing is held."""

    def candidates(self, document: Document) -> list[Candidate]:
        """What the patterns propose, for the enabled traits of the schema, with canonical values."""
        proposed = [*field_candidates(document), *signature_candidates(document)]
        for segment in document.segments:
            if segment.role in (Role.SUBJECT, Role.NOTE) and segment.end - segment.start > 3:
                proposed.extend(self._read(document, segment))
        return [candidate for candidate in map(self._canonical, proposed) if candidate is not None]

    def _canonical(self, candidate: Candidate) -> Candidate | None:
        """The claim with its value as the schema spells it; None for a trait that is not asked for."""
        if candidate.kind is Kind.MEMORY:
            return candidate
        trait = self.schema.get(candidate.key)
        if trait is None or not trait.extraction.enabled:
            return None
        try:
            value = self.schema.normalise(candidate.key, candidate.value)
        except ValueRejected:
            return candidate
        return _with_value(candidate, value)

    def _read(self, document: Document, segment: Segment) -> Iterator[Candidate]:
        start, end = segment.start, min(segment.end, segment.start + _MAX_SEGMENT)
        text = document.text[start:end].translate(_FLAT)
        quoted = guards.quoted_spans(text, 0, len(text))
        speaker = speaker_for(segment.role, document.subject_name)
        spans = list(sentences(document.text, start, end))
        trusted = False
        for number, (first, last) in enumerate(spans):
            here = _Sentence(text, first - start, last - start)
            matches = () if text[here.start] in ">|" else tuple(_matches(here, quoted, speaker))
            if not matches:
                continue
            # The guards come last because they cost more than the patterns and most sentences match nothing.
            trusted = trusted or not guards.addresses_software(document.text, start, end)
            if not trusted:
                return
            after = document.text[slice(*spans[number + 1])] if number + 1 < len(spans) else ""
            if guards.is_meant(here.text, after):
                for match, clause in matches:
                    yield from self._claims(document, segment, here, clause, match)

    def _claims(
        self, document: Document, segment: Segment, sentence: "_Sentence", clause: tuple[int, int], match: Match
    ) -> Iterator[Candidate]:
        """The match's claims with quote, offset and date. What lies ahead is no trait yet."""
        quote_start, quote_end = sentence.span if sentence.end - sentence.start <= _MAX_QUOTE else clause
        said_at = segment.occurred_at or document.occurred_at
        stated = sentence.date_of(clause)
        moment = None
        if stated and said_at:
            ahead = dates.looks_ahead(sentence.text)
            moment = dates.resolve(stated, said_at, self.timezone, ahead=ahead)
        until = bool(stated and stated.split()[0].lower() in _ENDS)
        is_future = bool(moment and said_at and moment > said_at + timedelta(days=1)) and not until
        for claim in match.claims(stated, moment):
            if is_future and claim.trait and claim.trait != "current_goals":
                if claim.trait not in _TO_COME or claim.retract:
                    continue
                when = date_words(stated, moment)
                text = _TO_COME[claim.trait].format(value=claim.value, when=when)
                claim = Claim(text, claim.confidence, memory="event", importance=0.7)
            yield Candidate(
                kind=Kind.TRAIT if claim.trait else Kind.MEMORY,
                key=claim.trait or MemoryType(claim.memory),
                value=claim.value,
                quote=document.text[segment.start + quote_start : segment.start + quote_end],
                confidence=claim.confidence,
                importance=claim.importance,
                stated=stated if _dates_it(claim, is_future, until) else None,
                retracted=claim.retract,
                start=segment.start + quote_start,
            )


@dataclass(frozen=True)
class _Sentence:
    """A span of a segment's flattened text."""

    segment_text: str
    start: int
    end: int

    @property
    def span(self) -> tuple[int, int]:
        return self.start, self.end

    @property
    def text(self) -> str:
        return self.segment_text[self.start : self.end]

    @cached_property
    def _dates(self) -> list[dates.PhraseSpan]:
        return dates.find(self.text)

    def date_of(self, clause: tuple[int, int]) -> str | None:
        """The first date phrase of a clause; else the only one of the sentence, when it stands before the clause."""
        low, high = clause[0] - self.start, clause[1] - self.start
        inside = [span for span in self._dates if low <= span.start < high]
        if inside:
            return inside[0].phrase
        if len(self._dates) == 1 and self._dates[0].end <= low and self._dates[0].start < 12:
            return self._dates[0].phrase
        return None


def _matches(
    sentence: _Sentence, quoted: list[tuple[int, int]], speaker: Speaker
) -> Iterator[tuple[Match, tuple[int, int]]]:
    """What the sentence's clauses say about the person."""
    text = sentence.segment_text
    is_question = "?" in text[max(sentence.end - 3, sentence.start) : sentence.end]
    may_complain = not is_question and complains(sentence.text)
    speaker.new_sentence()
    for start, end in clauses(text, sentence.start, sentence.end, STARTERS()):
        subject = speaker.hear(text, start, end)
        if guards.inside(start, quoted):
            continue
        match = match_clause(text, subject, end, sentence.end, is_question, speaker.role)
        if match is None and may_complain:
            match = complaint(text, start, end, speaker)
        if match is not None and not (speaker.is_own and guards.is_reported(text[sentence.start : start])):
            yield match, (start, end)


def _dates_it(claim: Claim, is_future: bool, until: bool) -> bool:
    """Whether a date in the clause is when the claim began to hold: a goal's deadline is not."""
    if claim.trait:
        return claim.trait in _DATED_TRAITS and not until
    return claim.memory == "event" or not (is_future or until)


def _with_value(candidate: Candidate, value: object) -> Candidate:
    if candidate.value == value:
        return candidate
    return Candidate(
        candidate.kind, candidate.key, value, candidate.quote, candidate.confidence, candidate.importance,
        candidate.stated, candidate.retracted, candidate.start,
    )  # fmt: skip
