"""What a mail signature proves: name, job title, company, phone, and nothing when it is not clear."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_pipeline.documents import Document, Role, Segment, Source
from ingest_pipeline.extraction.base import Extraction, Kind
from ingest_pipeline.extraction.offline import OfflineExtractor
from ingest_pipeline.extraction.traits import load_traits

EXTRACTOR = OfflineExtractor(load_traits(None))
ANA = ("Ana Ferreira", "ana.ferreira@velalogistics.example")


def extract(text: str, name: str | None, address: str, role: Role = Role.SIGNATURE) -> Extraction:
    segment = Segment(0, len(text), role, address)
    said = datetime(2024, 5, 1, tzinfo=UTC)
    document = Document("d", Source.EMAIL, "mail", "signature", text, (segment,), said, "p", name)
    [extraction] = EXTRACTOR.extract([document])
    return extraction


def found(text: str, name: str | None = ANA[0], address: str = ANA[1]) -> dict[str, object]:
    """What is claimed, by trait key; phones under ``fact``."""
    extraction = extract(text, name, address)
    assert not extraction.dropped
    return {o.key: o.value for o in extraction.observations}


NAME = {"name": "Ana Ferreira"}
TITLE = {"job_title": "Head of Logistics"}
COMPANY = {"company": "Vela Logistics"}
PHONE = {"fact": "Can be reached by phone at +351 21 555 0123."}
CASES = [
    (
        "all on four lines",
        "Ana Ferreira\nHead of Logistics, Vela Logistics\n+351 21 555 0123",
        NAME | TITLE | COMPANY | PHONE,
    ),
    ("a line each", "Ana Ferreira\nHead of Logistics\nVela Logistics", NAME | TITLE | COMPANY),
    ("company first", "Ana Ferreira\nVela Logistics\nHead of Logistics", NAME | TITLE | COMPANY),
    ("bars", "Ana Ferreira\nHead of Logistics | Vela Logistics", NAME | TITLE | COMPANY),
    ("a dash", "Ana Ferreira\nHead of Logistics – Vela Logistics", NAME | TITLE | COMPANY),
    ("bold", "*Ana Ferreira*\n*Head of Logistics*", NAME | TITLE),
    (
        "employed at",
        "Ana Ferreira\nHead of Logistics at Northern Cargo",
        NAME | TITLE | {"company": "Northern Cargo"},
    ),
    (
        "a legal form",
        "Ana Ferreira\nHead of Logistics\nNordfracht GmbH & Co. KG",
        NAME | TITLE | {"company": "Nordfracht GmbH & Co. KG"},
    ),
    ("labelled phone", "Ana Ferreira\nTel. +351 21 555 0123", NAME | PHONE),
    ("fax", "Ana Ferreira\nFax: +351 21 555 0123", NAME),
    ("phone and fax", "Ana Ferreira\nT +351 21 555 0123 | F +351 21 555 0124", NAME | PHONE),
    ("no country code", "Ana Ferreira\nTel. 21 555 0123", NAME),
    ("an impossible number", "Ana Ferreira\n+351 21", NAME),
    ("a field, not a company", "Ana Ferreira\nVP, Operations", NAME),
    ("a place, not a company", "Ana Ferreira\nHead of Logistics, Portugal", NAME | TITLE),
    ("a state, not a company", "Ana Ferreira\nHead of Logistics\nAdelaide SA", NAME | TITLE),
    ("a department of the company", "Ana Ferreira\nVela Logistics Support", NAME),
    ("two titles", "Ana Ferreira\nHead of Logistics\nSales Manager", NAME),
    ("twice the same title", "Ana Ferreira\nHead of Logistics\nHead of logistics", NAME | TITLE),
    ("two companies", "Ana Ferreira\nNordfracht GmbH\nVela Logistics Lda", NAME),
    ("a former title", "Ana Ferreira\nFormer Head of Logistics", NAME),
    ("on behalf", "Ana Ferreira\nHead of Logistics\non behalf of Rui Costa", {}),
    ("somebody else's", "Rui Costa\nHead of Sales, Vela Logistics\n+351 21 555 0123", {}),
    ("two people", "Ana Ferreira and Rui Costa\nHead of Sales, Vela Logistics", {}),
    ("the director in the legal notice", "Ana Ferreira\nManaging Director: Rui Costa", NAME),
    ("far below", "Ana Ferreira\nA\nB\nC\nD\nE\nManager", NAME),
    ("no name", "Head of Logistics\nVela Logistics\n+351 21 555 0123", {}),
    ("a proverb", "Ana Ferreira\nLead, follow or get out of the way.", NAME),
    ("given name only", "Ana\nHead of Logistics", {}),
    ("capitals", "ANA FERREIRA\nHead of Logistics", TITLE),
    ("family name first", "Ferreira Ana\nHead of Logistics", {"name": "Ferreira Ana"} | TITLE),
    ("with degree", "Ana Ferreira, PhD\nHead of Logistics", TITLE),
    ("empty", "", {}),
]


@pytest.mark.parametrize(("text", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_what_a_signature_says(text: str, expected: dict[str, str]) -> None:
    """Each row is one rule; the person is Ana Ferreira at velalogistics.example."""
    assert found(text) == expected


@pytest.mark.parametrize(
    ("name", "address", "text", "expected"),
    [
        (
            None,
            "ana.ferreira@vela.example",
            "Ana Ferreira\nBuyer, Vela Logistics",
            {"job_title": "Buyer"} | NAME | COMPANY,
        ),
        (None, "ana.ferreira@gmail.com", "Ana Ferreira\nBuyer, Gmail", NAME),
        (None, "info@vela.example", "Ana Ferreira\nBuyer, Vela Logistics", {}),
        ("Jörg Müller", "jm@x.example", "Jörg Müller\nVertriebsleiter", {}),
        ("Léa Roux", "lea@x.example", "Léa Roux\nResponsable logistique", {"job_title": "Responsable logistique"}),
        ("Kari Dahl", "kari@x.example", "Kari Dahl\nInnkjøpsleder", {"job_title": "Innkjøpsleder"}),
        ("Σοφία Παππά", "sofia@x.example", "Sofia Pappa\nHead of Logistics", {"job_title": "Head of Logistics"}),
        (None, "sales@vela.example", "Sales Team\nVela Logistics", {}),
        (None, "it-support@vela.example", "Support Lisbon\nVela Logistics", {}),
    ],
)
def test_other_people(name: str | None, address: str, text: str, expected: dict[str, str]) -> None:
    """The address must agree. A name known from elsewhere does not count: it may be known only later."""
    assert found(text, name, address).items() >= expected.items()
    assert bool(found(text, name, address)) == bool(expected)


def test_a_signature_is_read_only_where_it_is_one() -> None:
    """The same lines in a mail's text or a note prove nothing by their form."""
    text = "Ana Ferreira\nHead of Logistics, Vela Logistics"
    for role in (Role.SUBJECT, Role.NOTE, Role.OTHER, Role.STAFF):
        assert not extract(text, *ANA, role).observations


def test_claims_are_proved_by_their_line() -> None:
    """Quote, offsets, role and confidence; the phone is a memory."""
    text = "Ana Ferreira\n  Head of Logistics, Vela Logistics\n+351 21 555 0123"
    observations = extract(text, *ANA).observations
    assert [(o.kind, o.quote) for o in observations] == [
        (Kind.TRAIT, "Ana Ferreira"),
        (Kind.TRAIT, "Head of Logistics, Vela Logistics"),
        (Kind.TRAIT, "Head of Logistics, Vela Logistics"),
        (Kind.MEMORY, "+351 21 555 0123"),
    ]
    assert all(text[o.start : o.end] == o.quote and o.role is Role.SIGNATURE for o in observations)
    assert all(o.confidence == 0.9 for o in observations)


LINES = st.sampled_from(
    [
        "Ana Ferreira",
        "Head of Logistics",
        "Vela Logistics",
        "VP, Sales",
        "+351 21 555 0123",
        "-- ",
        "",
        "|",
        ",",
        "at X",
    ]
)


@given(st.one_of(st.text(), st.lists(LINES, max_size=8).map("\n".join)))
def test_any_signature(text: str) -> None:
    """No text raises, and every claim stands in it."""
    extraction = extract(text, *ANA)
    assert all(text[o.start : o.end] == o.quote for o in extraction.observations)
    assert set(extraction.dropped) <= {"duplicate"}
