"""How erased people are recognised by hashes, and by plain values where the proof looks for them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_pipeline.documents import Identifier, Json, Person, Record, Role, Segment
from ingest_pipeline.erased import BLANK, Erased, Traces, lowered
from ingest_pipeline.remnants import Needles, Samples, strings
from tests.builders import contact, record, sender

ANA = Traces(
    identifiers=frozenset(
        {
            Identifier("email", "ana@x.example"),
            Identifier("phone", "+4915112345678"),
            Identifier("slack", "T1/U05000001"),
            Identifier("salesforce", "00D1/003A000001AbCdEFGH"),
            Identifier("hubspot", "7/51"),
        }
    ),
    names=frozenset({"Ana Ferreira", "José Ruiz", "Ana"}),
    speakers=frozenset({("slack:T1", "Ana")}),
    external_ids=frozenset({"customer-1"}),
)
ERASED = Erased(b"key", frozenset()).adding(ANA.marks())
NEEDLES = Needles.of(ANA)

BLANKED = [
    "ana@x.example",
    "Ana@X.example",
    "mail <ana@x.example>, or mailto:ana@x.example.",
    "see 'ana@x.example' and https://x.example/?to=ana@x.example&a=b",
    "+49 151 123 456 78",
    "0151/12345678",
    "0049 (151) 12345678",
    "+49 (0)151 1234-5678",
    "4915112345678",
    "call 0151 12345678 2024-05-01",
    "Ana Ferreira",
    "ana  ferreira",
    "ANA FERREIRA",
    "Ferreira, Ana",
    "Ana\nFerreira",
    "José Ruiz",
    "Jose\u0301 Ruiz",
    "<@U05000001>",
    "003A000001AbCdE",
    "/lightning/r/003A000001AbCdEFGH/view",
]
KEPT = [
    "jan@x.example",
    "x-ana@x.example",
    "ana@x.example.org",
    "ana@y.example",
    "151 12 34 56",
    "0151 123456789",
    "Ana",
    "Anna Ferreira",
    "Ana met Ferreira",
    "U050000012",
    "51 of 7",
    "customer-1",
]


@pytest.mark.parametrize("text", BLANKED)
def test_identifiers_and_full_names_are_blanked(text: str) -> None:
    """In the usual spellings; nothing around them is touched, and the text stays as long."""
    blanked = ERASED.blank(text)
    assert BLANK in blanked
    assert len(blanked) == len(text)
    assert all(new in (old, BLANK) for new, old in zip(blanked, text, strict=True))
    assert not NEEDLES.count(blanked)


@pytest.mark.parametrize("text", KEPT)
def test_what_only_looks_alike_stays(text: str) -> None:
    """Longer addresses and numbers, other names, a first name alone, ids that are ordinary numbers."""
    assert ERASED.blank(text) == text
    assert not NEEDLES.count(text)


@pytest.mark.parametrize("text", [t for t in BLANKED if "ana" in lowered(t) and "\n" not in t and "  " not in t])
def test_the_proof_finds_what_was_not_blanked(text: str) -> None:
    """By other means: plain values in place of hashes, in texts and in the bytes of a file."""
    assert NEEDLES.count(text)
    assert NEEDLES.count_bytes(b"\x00" + text.encode() + b"\xff")


def test_the_proof_finds_names_as_json_spells_them() -> None:
    """SQLite's JSON columns and cached answers hold other alphabets as escapes."""
    assert NEEDLES.count_bytes(b'{"who": "Jos\\u00e9 Ruiz"}')
    assert NEEDLES.count('{"who": "Jos\\u00e9 Ruiz"}')


@given(st.text(st.sampled_from("abAB @.x+1-\n█éİς"), max_size=60))
def test_blanking_keeps_lengths_and_needs_no_second_time(text: str) -> None:
    erased = Erased(b"key", frozenset()).adding(Traces(names=frozenset({"a b"})).marks())
    blanked = erased.blank(text)
    assert len(blanked) == len(text) == len(lowered(text))
    assert blanked.count("\n") == text.count("\n")
    assert erased.blank(blanked) == blanked


def test_json_is_blanked_everywhere() -> None:
    value = {"to": ["ana@x.example", 3, None], "ana@x.example": {"n": "Ana Ferreira"}}
    mail, name = BLANK * 13, BLANK * 12
    assert ERASED.blank_json(value) == {"to": [mail, 3, None], mail: {"n": name}}
    assert value["to"] == ["ana@x.example", 3, None]
    assert ERASED.blank_json("Ana Ferreira") == name


def test_json_is_blanked_however_deep_it_is() -> None:
    """Deeper than anything that calls itself gets. Nor does the proof stop there."""
    deep: Json = "Ana Ferreira"
    for _ in range(5_000):
        deep = [{"x": deep}]
    assert strings(deep) == ["x"] * 5_000 + ["Ana Ferreira"]
    blanked = ERASED.blank_json(deep)
    for _ in range(5_000):
        blanked = blanked[0]["x"]
    assert blanked == BLANK * 12


CONVERSATION = "Ben: hi there\nAna: > hi\nfine, thanks\nand you?\nBen: ok\nAna: bye"


def conversation(own: str = "Ben") -> tuple[str, tuple[Segment, ...]]:
    spans = {"hi there": "Ben", "fine, thanks\nand you?": "Ana", "ok": "Ben", "bye": "Ana"}
    return CONVERSATION, tuple(
        Segment(
            CONVERSATION.index(said),
            CONVERSATION.index(said) + len(said),
            Role.SUBJECT if who == own else Role.OTHER,
            who,
        )
        for said, who in spans.items()
    )


def test_what_they_said_to_others_is_blanked_with_their_name() -> None:
    """The whole turn, what it quotes included; lines stay lines, and the subject's own words where they are."""
    text, segments = ERASED.blank_text(*conversation(), "slack:T1")
    assert text == re.sub(r"(?m)^Ana: [^\n]*|fine, thanks|and you\?", lambda m: BLANK * len(m[0]), CONVERSATION)
    assert [text[s.start : s.end] for s in segments if s.role is Role.SUBJECT] == ["hi there", "ok"]
    assert {s.speaker for s in segments} == {"Ben", BLANK * 3}


def test_the_same_first_name_in_another_workspace_is_somebody_else() -> None:
    text, segments = conversation()
    assert ERASED.blank_text(text, segments, "slack:T2") == (text, segments)
    assert ERASED.blank_text(text, segments, None) == (text, segments)


def test_a_namesake_keeps_their_own_words() -> None:
    """In the document about themselves."""
    text, segments = conversation(own="Ana")
    blanked, _ = ERASED.blank_text(text, segments, "slack:T1")
    assert blanked == text


@pytest.mark.parametrize(
    ("person", "erased"),
    [
        (sender("ana@x.example"), True),
        (contact(9, "new@x.example", "ana@x.example"), True),
        (Person(Identifier("hubspot", "7/51"), "hubspot:7", claims=False), True),
        (Person(Identifier("salesforce", "new"), "sf", same_as=(Identifier("hubspot", "7/51"),)), True),
        (Person(Identifier("x", "1"), "x", identifiers=(Identifier("phone", "+4915112345678"),)), True),
        (contact(9, "ben@x.example", name="Ana Ferreira"), False),
    ],
)
def test_one_known_identifier_is_enough(person: Person, erased: bool) -> None:
    """A name is not one."""
    assert ERASED.is_erased(person) is erased


def test_a_record_of_others_comes_blanked() -> None:
    given_record = record(contact(1), text="Ask Ana Ferreira.")
    blanked = ERASED.blank_record(given_record)
    assert blanked.text == f"Ask {BLANK * 12}."
    assert ERASED.blank_record(blanked) == blanked
    untouched: Record = record(contact(1), text="Ask Ben.")
    assert ERASED.blank_record(untouched) == untouched


def test_samples_are_of_texts_that_nobody_else_has() -> None:
    """Short texts have none; what others wrote as well is taken out."""
    samples = Samples()
    samples.take("Thanks a lot.")
    assert not samples.hashes
    own = "My new office is on the third floor next to the river and the old harbour."
    samples.take(own)
    assert samples.count(f"xx {own} yy".encode())
    assert not samples.count(b"the office is on another floor of the building next to a river")
    samples.discard(own)
    assert not samples.count(own.encode())
