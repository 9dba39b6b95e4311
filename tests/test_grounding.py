"""No quote, no fact: where quotes are found, and which values they support."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_pipeline.documents import Document, Role, Segment, Source
from ingest_pipeline.extraction.base import Candidate, Kind
from ingest_pipeline.extraction.grounding import Grounded, ground
from ingest_pipeline.extraction.traits import load_traits, parse_traits

SCHEMA = load_traits(None)
SAID = datetime(2024, 5, 15, 9, tzinfo=UTC)


def _document(*parts: tuple[Role, str], subject_name: str | None = None) -> Document:
    """One segment per part, a line between them that is nobody's."""
    text, segments = "", []
    for role, words in parts:
        text += "--\n"
        segments.append(Segment(len(text), len(text) + len(words), role, native_id=f"m{len(segments)}"))
        text += words + "\n"
    return Document("d", Source.DIRECT, "api", "text", text, tuple(segments), SAID, "p", subject_name)


def _trait(key: str, value: Any, quote: str, **more: Any) -> Candidate:
    return Candidate(Kind.TRAIT, key, value, quote, more.pop("confidence", 0.9), **more)


def _memory(value: Any, quote: str, key: str = "fact", **more: Any) -> Candidate:
    return Candidate(Kind.MEMORY, key, value, quote, 0.9, importance=more.pop("importance", 0.5), **more)


def _ground(text: str, candidate: Candidate) -> Grounded:
    return ground(_document((Role.SUBJECT, text)), [candidate], SCHEMA)


@pytest.mark.parametrize(
    ("text", "quote", "found"),
    [
        ("I moved to Lisbon.", "I moved to Lisbon", "I moved to Lisbon"),
        ("I moved to Lisbon.", "  I moved to Lisbon. ", "I moved to Lisbon."),
        ("I  moved\n to Lisbon.", "I moved to Lisbon", "I  moved\n to Lisbon"),
        ("I’m “in” Lisbon – now", 'I\'m "in" Lisbon - now', "I’m “in” Lisbon – now"),
        ("I MOVED to Lisbon", "i moved to lisbon", "I MOVED to Lisbon"),
        ("I moved to Li\u200bsbon", "moved to Lisbon", "moved to Li\u200bsbon"),
        ("🙂🙂 I moved to Lisbon", "I moved", "I moved"),
        ("Die Straße in Gießen", "STRASSE IN GIESSEN", "Straße in Gießen"),
        ("I moved to Lisbon.", "... moved to Lisbon...", "moved to Lisbon"),
        ("我搬到里斯本了", "里斯本", "里斯本"),
    ],
)
def test_a_quote_is_found_and_given_back_as_it_stands(text: str, quote: str, found: str) -> None:
    """White space, typography and case may differ; the stored quote is the document's own text."""
    document = _document((Role.SUBJECT, text))
    (observation,) = ground(document, [_trait("detail_preference", "brief", quote)], SCHEMA).observations
    assert observation.quote == found == document.text[observation.start : observation.end]


@pytest.mark.parametrize(
    ("candidate", "reason"),
    [
        (_trait("detail_preference", "brief", " \n"), "empty_quote"),
        (_memory(" ", "I moved"), "empty_value"),
        (_memory("Moved.", "I moved", key="opinion"), "unknown_memory_type"),
        (_trait("detail_preference", "brief", "I was never here"), "quote_not_found"),
        (_trait("detail_preference", "brief", "moved to Lis"), "quote_not_found"),
        (_trait("detail_preference", "brief", "I live in Rome"), "not_the_subject"),
        (_trait("detail_preference", "brief", "i live   in rome"), "not_the_subject"),
        (_trait("detail_preference", "brief", "Lisbon.\n--\nI live"), "not_the_subject"),
        (_trait("location", "Porto", "I moved to Lisbon"), "value_not_in_quote"),
    ],
)
def test_what_the_subject_did_not_say_is_dropped(candidate: Candidate, reason: str) -> None:
    """Counted by reason; a quote may not run over into another speaker's words, nor start inside a word."""
    document = _document((Role.SUBJECT, "I moved to Lisbon."), (Role.STAFF, "I live in Rome."))
    assert ground(document, [candidate], SCHEMA) == Grounded((), {reason: 1})


@pytest.mark.parametrize("role", list(Role))
def test_only_evidence_roles_prove_anything(role: Role) -> None:
    """Own words, their mails' signature, record fields and notes about the person."""
    result = ground(_document((role, "Lisbon it is")), [_trait("location", "Lisbon", "Lisbon it is")], SCHEMA)
    assert bool(result.observations) is (role in {Role.SUBJECT, Role.SIGNATURE, Role.FIELD, Role.NOTE})


def test_the_hint_says_which_occurrence_is_meant() -> None:
    """The same words can be said twice."""
    text = "Yes, Lisbon. No wait. Yes, Lisbon. "
    document = _document((Role.SUBJECT, text))
    second = document.text.rindex("Lisbon")
    for hint, expected in ((None, document.text.index("Lisbon")), (second, second), (second - 2, second)):
        (found,) = ground(document, [_trait("location", "Lisbon", "Lisbon", start=hint)], SCHEMA).observations
        assert found.start == expected


def test_a_wrong_hint_does_no_harm() -> None:
    """A model counts badly."""
    for hint in (-5, 10**9):
        assert _ground("I live in Lisbon", _trait("location", "Lisbon", "in Lisbon", start=hint)).observations


@pytest.mark.parametrize(
    ("key", "value", "quote", "supported"),
    [
        ("name", "Dana Smith", "I'm Dana Smith", True),
        ("name", "Dana Smith", "I'm Dana", False),
        ("name", "Al", "Also here", False),
        ("name", "José Núñez", "Jose Nunez here", True),
        ("name", "王伟", "我叫王伟", True),
        ("name", "李伟", "我叫王伟", False),
        ("company", "Acme", "I joined ACME", True),
        ("company", "Globe", "I joined Globex", False),
        ("job_title", "VP of Sales", "the new VP Sales", True),
        ("job_title", "Vice President of Sales", "VP Sales here", True),
        ("job_title", "CTO", "our Chief Technology Officer", True),
        ("job_title", "Head of Data", "I lead a team", False),
        ("location", "Lisbon", "moved to Lisbon", True),
        ("location", "Lisbon, Portugal", "moved to Lisbon", False),
        ("timezone", "UTC+02:00", "I'm on UTC+2", True),
        ("contact_preference", "phone", "please call me", True),
        ("preferred_language", "German", "bitte auf Deutsch", True),
        ("interests", "cycling", "I love to cycle", True),
        ("current_goals", "ship 3 releases", "we want to ship three releases", True),
        ("current_goals", "ship 4 releases", "we want to ship three releases", False),
        ("current_goals", "mail bob@acme.com", "I want to mail him", False),
        ("shoe_size", 44, "my size is 44", True),
        ("shoe_size", 45, "my size is 44", False),
        ("shoe_size", 2.5, "2.5 it is", True),
    ],
)
def test_literal_values_must_be_in_the_quote(key: str, value: Any, quote: str, supported: bool) -> None:
    """Names, places and numbers; enums, languages and interests may be paraphrased."""
    result = _ground(quote, _trait(key, value, quote))
    assert (bool(result.observations), result.dropped) == (supported, {} if supported else {"value_not_in_quote": 1})


@pytest.mark.parametrize(
    ("sentence", "quote", "supported"),
    [
        ("Moved to Lisbon.", "I moved to Lisbon", True),
        ("Moved to Porto.", "I moved to Lisbon", False),
        ("Has two kids.", "my 2 kids", True),
        ("Has 2 kids.", "my two kids", True),
        ("Has three kids.", "my kids", False),
        ("Has one dog.", "I have a dog", True),
        ("Has 1,200 seats.", "1200 seats", True),
        ("Pays $20,000 a year.", "we pay 20k a year", True),
        ("Pays $25,000 a year.", "we pay 20k a year", False),
        ("Is free after 15:30.", "free after 15:30", True),
        ("Marries in June.", "getting married in June", True),
        ("Marries in July.", "getting married in June", False),
        ("Marries in September.", "getting married in Sept", True),
        ("Is free on Friday.", "free on fri", True),
        ("Can be reached at x@acme.com.", "write to x@acme.com", True),
        ("Can be reached at y@acme.com.", "write to x@acme.com", False),
        ("Wants SSO.", "we want single sign-on", False),
        ("Is evaluating SSO.", "evaluating SSO", True),
        ("Works with the German team.", "my team in Germany", True),
        ("Met Tom. Likes golf.", "I met Tom and like golf", True),
    ],
)
def test_numbers_dates_and_names_of_a_memory_must_be_in_its_quote(sentence: str, quote: str, supported: bool) -> None:
    """The wording is free, these are not."""
    assert bool(_ground(quote, _memory(sentence, quote)).observations) is supported


def test_a_memory_may_use_a_name_from_the_segment_or_the_subjects_own() -> None:
    """ "It" becomes what it stands for, so that the sentence stands alone."""
    document = _document((Role.SUBJECT, "Acme Sync is great. We use it daily."), subject_name="Dana Smith")
    for sentence, kept in (("Uses Acme Sync daily.", 1), ("Dana Smith uses it.", 1), ("Uses Globex daily.", 0)):
        assert len(ground(document, [_memory(sentence, "We use it daily.")], SCHEMA).observations) == kept


def test_a_memory_may_use_the_resolved_date() -> None:
    """ "Last month", said in May 2024, is April 2024 and no other month."""
    for sentence, kept in (("Moved to Lisbon in April 2024.", 1), ("Moved to Lisbon in March 2024.", 0)):
        candidate = _memory(sentence, "I moved to Lisbon last month", stated="last month")
        assert len(_ground("I moved to Lisbon last month", candidate).observations) == kept


def test_dates_come_from_the_segment_and_are_resolved_against_it() -> None:
    """The segment's own time wins over the document's."""
    said = datetime(2020, 2, 10, tzinfo=UTC)
    text = "I moved last month"
    segment = Segment(0, len(text), Role.SUBJECT, occurred_at=said, native_id="ts1")
    document = Document("d", Source.CHAT, "slack", "day", text, (segment,), SAID)
    (found,) = ground(document, [_memory("Moved.", text, stated="Last  month")], SCHEMA).observations
    assert (found.said_at, found.effective_at) == (said, datetime(2020, 1, 1, tzinfo=UTC))
    assert (found.native_id, found.role) == ("ts1", Role.SUBJECT)


def test_a_stated_date_that_nobody_wrote_is_ignored() -> None:
    """The claim stays; only its date is made up."""
    (found,) = _ground("I moved", _memory("Moved.", "I moved", stated="last month")).observations
    assert (found.stated, found.effective_at) == (None, None)


def test_without_a_date_of_speaking_nothing_is_resolved() -> None:
    """A mail without a date still tells facts."""
    document = Document("d", Source.EMAIL, "mbox", "mail", "I moved today", (Segment(0, 13, Role.SUBJECT),), None)
    (found,) = ground(document, [_memory("Moved.", "I moved today", stated="today")], SCHEMA).observations
    assert (found.said_at, found.effective_at, found.stated) == (None, None, "today")


def test_a_sentence_that_looks_ahead_dates_to_the_coming_month() -> None:
    """Said in May 2024."""
    candidate = _memory("Is getting married in March.", "I'm getting married in March", "event", stated="in March")
    (found,) = _ground("I'm getting married in March", candidate).observations
    assert found.effective_at == datetime(2025, 3, 1, tzinfo=UTC)


def test_scores_are_clamped() -> None:
    """No single text is certain."""
    for given_score, kept in ((1.0, 0.99), (7.0, 0.99), (-1.0, 0.0), (0.5, 0.5)):
        (found,) = _ground("brief", _trait("detail_preference", "brief", "brief", confidence=given_score)).observations
        assert found.confidence == kept
    (found,) = _ground("I moved", _memory("Moved.", "I moved", importance=3.0)).observations
    assert found.importance == 1.0


def test_a_repeated_claim_counts_once() -> None:
    """Chunks overlap; a retraction of the same value is another claim."""
    candidate = _trait("location", "Lisbon", "in Lisbon")
    retracted = _trait("location", "Lisbon", "in Lisbon", retracted=True)
    result = ground(_document((Role.SUBJECT, "in Lisbon")), [candidate, candidate, retracted], SCHEMA)
    assert len(result.observations) == 2
    assert result.dropped == {"duplicate": 1}


def test_values_outside_the_schema_are_left_to_the_fold() -> None:
    """They are kept as rejected observations, with their raw value."""
    text = "call me by pigeon"
    for key, value in (("contact_preference", "pigeon"), ("no_such_trait", "x"), ("interests", ["a"])):
        (found,) = _ground(text, _trait(key, value, text)).observations
        assert found.value == value


def test_a_custom_number_must_be_quoted() -> None:
    """Traits of a caller's own schema as well."""
    schema = parse_traits([{"key": "seats", "valueType": "number"}])
    document = _document((Role.SUBJECT, "we need forty seats"))
    assert ground(document, [_trait("seats", "40", "forty seats")], schema).observations
    assert not ground(document, [_trait("seats", "41", "forty seats")], schema).observations


_TEXT = st.text(st.sampled_from("aA bB\n\t.'’“\"–-ßİ ﬁ\u200b\u00ad1x🙂里"), max_size=40)


@given(_TEXT, _TEXT, _TEXT, st.integers(-3, 60) | st.none(), st.booleans())
def test_every_quote_is_exactly_its_span(before: str, said: str, quote: str, hint: int | None, verbatim: bool) -> None:
    """For any text, any quote, any hint; and within the speaker's segment."""
    text = before + said
    document = Document("d", Source.DIRECT, "api", "t", text, (Segment(len(before), len(text), Role.NOTE),), SAID)
    candidate = _trait("detail_preference", "brief", said if verbatim else quote, start=hint)
    result = ground(document, [candidate], SCHEMA)
    for found in result.observations:
        assert found.quote == text[found.start : found.end]
        assert len(before) <= found.start < found.end <= len(text)
    assert len(result.observations) + sum(result.dropped.values()) == 1
