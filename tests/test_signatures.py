"""Signatures as documents of their own: one per person and signature, dated by the first mail they stand under."""

import io
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine

from ingest_pipeline.documents import Item, Record, Role, Skipped, Source
from ingest_pipeline.extracting import extract_pending
from ingest_pipeline.extraction.offline import OfflineExtractor
from ingest_pipeline.extraction.traits import load_traits
from ingest_pipeline.folding import fold_profiles
from ingest_pipeline.sources.base import Export, ReadOptions, SourceFile
from ingest_pipeline.sources.mbox import READER
from ingest_pipeline.sources.signatures import clean_signature
from ingest_pipeline.store.documents import save_records
from ingest_pipeline.store.extractions import Selection
from ingest_pipeline.store.facts import load_facts
from ingest_pipeline.store.lookup import find_profile
from ingest_pipeline.store.tables import DocumentRow, ObservationRow
from tests.builders import add_file, rows

SCHEMA = load_traits(None)
EXTRACTOR = OfflineExtractor(SCHEMA)
FIRST = datetime(2024, 1, 1, 9, tzinfo=UTC)
BLOCK = "Ana Ferreira\nHead of Logistics, Vela Logistics\n+351 21 555 0123"
ANA = "Ana Ferreira <ana@velalogistics.example>"


def mail(number: int, body: str, sender: str = ANA, day: int | None = None) -> str:
    at = FIRST + timedelta(days=number if day is None else day)
    return (
        f"From x@y.example {at:%a %b %d %H:%M:%S %Y}\nFrom: {sender}\nMessage-ID: <{number}@y.example>\n"
        f"Date: {at:%a, %d %b %Y %H:%M:%S} +0000\n\n{body}\n\n"
    )


def read(*mails: str) -> list[Item]:
    data = "".join(mails).encode()
    file = SourceFile("email/a.mbox", len(data), 0.0, lambda: io.BytesIO(data))
    return list(READER.read(Export("mbox", Source.EMAIL, (file,)), ReadOptions()))


def signatures(*mails: str) -> list[Record]:
    return [item for item in read(*mails) if isinstance(item, Record) and item.kind == "signature"]


BODIES = {
    "delimiter": f"Hello.\n\n-- \n{BLOCK}",
    "closing phrase": f"Hello.\n\nKind regards,\n{BLOCK}",
    "name alone begins it": f"Hello.\n\n{BLOCK}",
    "blank lines inside": f"Hello.\n\nBest,\nAna\n\n{BLOCK}",
    "above a quote": f"Hello.\n\n-- \n{BLOCK}\n\nOn 1 May 2020, at 2:47, Bo <bo@y.example> wrote:\n> Theirs.",
    "below a device line": f"Hello.\n\nSent from my iPhone\n\n{BLOCK}",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_signature_is_split_off(body: str) -> None:
    """However it is set off, it is no part of the mail's text and a record about its sender."""
    message, signature = (item for item in read(mail(1, body)) if isinstance(item, Record))
    assert (message.kind, message.text) == ("mail", "Hello.")
    assert signature.text.endswith(BLOCK)
    assert signature.subjects == message.subjects
    assert [(s.role, s.start, s.end) for s in signature.segments] == [(Role.SIGNATURE, 0, len(signature.text))]
    assert (signature.occurred_at, signature.metadata["message_id"]) == (FIRST + timedelta(days=1), "1@y.example")


NO_SIGNATURES = {
    "name only": "Hello.\n\n-- \nAna Ferreira",
    "given name below a closing phrase": "Hello.\n\nBest regards,\nAna",
    "device": "Hello.\n\nSent from my iPhone",
    "a proverb": "Hello.\n\n-- \nI am the captain of my soul.\n- W. E. Henley",
    "a legal notice": "Hello.\n\n-- \nThis e-mail is confidential.\nPlease delete it.",
    "somebody else's name": "Hello.\n\n-- \nRui Costa\nHead of Sales",
    "text below a name": "Hello.\n\nAna Ferreira\nis how I am called here.",
    "text that begins with a name": "Hello.\n\n-- \nAna likes this\nvery much",
}


@pytest.mark.parametrize("body", NO_SIGNATURES.values(), ids=NO_SIGNATURES)
def test_what_says_nothing_of_the_sender_is_no_signature_document(body: str) -> None:
    """Nor is another person's signature theirs."""
    assert signatures(mail(1, body)) == []


def test_a_forward_without_a_word_still_shows_the_signature() -> None:
    """The forwarded text is nobody's; the forwarder's signature is theirs, that of the forwarded mail is not."""
    forward = (
        "---------- Forwarded message ---------\nFrom: Rui\n\nI live in Porto.\n\n-- \nRui Costa\n+351 21 555 0199"
    )
    skipped, signature = read(mail(1, f"-- \n{BLOCK}\n\n{forward}"))
    assert skipped == Skipped("email/a.mbox", "only_quoted_text")
    assert isinstance(signature, Record)
    assert signature.text == BLOCK


def test_one_signature_under_many_mails_is_yielded_once() -> None:
    """Again only for another person, another wording, or an earlier mail."""
    mails = [mail(n, f"Mail {n}.\n\n-- \n{BLOCK}") for n in range(10, 60)]
    assert len(signatures(*mails)) == 1
    other = mail(70, f"Hello.\n\n-- \n{BLOCK}", "Ana Ferreira <ana@other.example>")
    assert len(signatures(*mails, other, mail(71, f"Hello.\n\n-- \n{BLOCK}0"))) == 3
    found = signatures(*mails, mail(80, f"Hello.\n\n-- \n{BLOCK}  ", day=0))
    assert [record.occurred_at for record in found] == [FIRST + timedelta(days=10), FIRST]
    assert found[0].native_id == found[1].native_id


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("-- \nAna", "Ana"),
        ("Best regards,\n\nAna  \n\n\nVela", "Ana\n\nVela"),
        ("Sent from my iPhone", ""),
        ("", ""),
    ],
)
def test_cleaning(text: str, cleaned: str) -> None:
    """Delimiter, closing phrase, device line and white space differ from mail to mail; the rest is verbatim."""
    assert clean_signature(text) == cleaned


def sync(engine: Engine, *mails: str) -> None:
    add_file(engine, "email/a.mbox")
    save_records(engine, Source.EMAIL, [item for item in read(*mails) if isinstance(item, Record)], None)
    for _ in extract_pending(engine, EXTRACTOR, Selection(EXTRACTOR.fingerprint)):
        pass
    for _ in fold_profiles(engine, SCHEMA):
        pass


@pytest.mark.parametrize("days", [(1, 2, 3), (3, 1, 2), (3, 2, 1)])
def test_the_first_mail_dates_the_signature_in_any_order(engine: Engine, days: tuple[int, ...]) -> None:
    """One document and one observation per claim; a new signature wins over an old one that is read later."""
    old = "Ana Ferreira\nBuyer, Vela Logistics"
    for day in days:
        sync(engine, mail(day, f"Mail {day}.\n\n-- \n{BLOCK}"))
    sync(engine, mail(0, f"Mail 0.\n\n-- \n{old}"))
    documents = [row for row in rows(engine, DocumentRow) if row.kind == "signature"]
    assert sorted((row.text, row.occurred_at) for row in documents) == [
        (old, FIRST),
        (BLOCK, FIRST + timedelta(days=1)),
    ]
    observed = [row for row in rows(engine, ObservationRow) if row.key == "job_title"]
    assert sorted(row.said_at for row in observed) == [FIRST, FIRST + timedelta(days=1)]
    facts = load_facts(engine, find_profile(engine, "ana@velalogistics.example"))
    title = next(trait for trait in facts.traits if trait.key == "job_title")
    assert title.value == "Head of Logistics"
