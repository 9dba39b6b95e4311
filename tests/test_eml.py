"""Single mails: ``.eml`` files and Maildir messages."""

import io
import os
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_pipeline.documents import Item, Record, Rejected, Skipped, Source
from ingest_pipeline.sources.base import Export, ReadOptions, SourceFile
from ingest_pipeline.sources.eml import READER, read_at_most

MAIL = b"Return-Path: <a@b.org>\nReceived: x\nFrom: Ann <a@b.org>\nSubject: Hi\n\nHello.\n"


def source(data: bytes, name: str = "a.eml") -> SourceFile:
    return SourceFile(name, len(data), 0.0, lambda: io.BytesIO(data))


def read(data: bytes, name: str = "a.eml", options: ReadOptions | None = None) -> Item:
    item, *_ = READER.read(Export("eml", Source.EMAIL, (source(data, name),)), options or ReadOptions())
    return item


@pytest.mark.parametrize(
    ("name", "head", "found"),
    [
        ("a.eml", MAIL, True),
        ("a.EML", b"anything", True),
        ("box/cur/1700000000.M1P2.host:2,S", MAIL, True),
        ("box/new/1700000000.M1P2.host", b"From: a@b.org\n\nHi", True),
        ("box/tmp/1700000000.M1P2.host", MAIL, True),
        ("box/cur/notes.txt", b"Title: x\n\nHi", False),
        ("box/cur/table.csv", b"Id,Name\n1,x\n", False),
        ("saved.txt", MAIL, True),
        ("saved.txt", b"Subject: x\n\nHi", False),
        ("a.mbox", b"From a@b.org Mon Jan  1 10:00:00 2024\n", False),
        ("empty", b"", False),
    ],
)
def test_detect(name: str, head: bytes, found: bool) -> None:
    """By suffix, by the Maildir folder, or by at least three fields that every mail has."""
    assert READER.detect(source(head, name), head) is found


def test_one_record() -> None:
    """A file is one mail."""
    item = read(MAIL)
    assert isinstance(item, Record)
    assert (item.text, item.position, item.subjects[0].name) == ("Hello.", "byte 0", "Ann")


def test_maildir_copies_are_one_document() -> None:
    """Flags change the file's name, not the mail."""
    first, second = read(MAIL, "box/new/1.host"), read(MAIL, "box/cur/1.host:2,RS")
    assert isinstance(first, Record)
    assert isinstance(second, Record)
    assert first.native_id == second.native_id


def test_undelivered_maildir_messages_are_skipped() -> None:
    """What is in ``tmp`` will appear in ``new``."""
    assert read(MAIL, "box/tmp/1.host") == Skipped("box/tmp/1.host", "maildir_tmp")


class _InPieces(io.BytesIO):
    """Gives less than it is asked for, as streams from the network may."""

    def read(self, size: int | None = -1) -> bytes:
        assert size is not None
        assert 0 < size <= 1_000_000
        return super().read(min(size, 70_000))


@pytest.mark.parametrize("limit", [10, 65_536, 70_000, 200_000])
def test_no_more_than_the_limit_is_read(limit: int) -> None:
    stream = _InPieces(b"x" * 150_000)
    assert len(read_at_most(stream, limit)) == stream.tell() == min(limit, 150_000)


def test_too_large_and_empty_files() -> None:
    """A file over the cap is rejected after reading the cap; an empty one is counted."""
    assert read(MAIL, options=ReadOptions(max_message_bytes=10)) == Rejected(
        "a.eml", "byte 0", "the message is larger than 10 bytes"
    )
    assert read(b" \n") == Skipped("a.eml", "empty")


@given(st.binary(max_size=400))
def test_any_bytes(data: bytes) -> None:
    """One item of the documented kinds for any content."""
    for content in (data, MAIL + data):
        READER.detect(source(content), content)
        READER.detect(source(content, "box/cur/1"), content)
        assert isinstance(read(content), Record | Rejected | Skipped)


REAL = os.environ.get("INGEST_REAL_FIXTURES")


@pytest.mark.skipif(not REAL, reason="INGEST_REAL_FIXTURES is not set")
def test_real_mails() -> None:
    """151 files, most of them broken in some way: each gives a document or a reason."""
    outcomes: Counter[str] = Counter()
    for path in sorted(Path(REAL or "", "email_eml").rglob("*.*")):
        if path.is_file():
            item = read(path.read_bytes(), path.name)
            outcomes[type(item).__name__ if isinstance(item, Record) else item.reason] += 1
            if isinstance(item, Record):
                assert item.text.strip()
                item.text.encode()
    assert outcomes.total() == 151
    assert outcomes == {
        "Record": 104,
        "empty": 18,
        "automatic_mail": 14,
        "no sender address": 10,
        "only_quoted_text": 5,
    }
