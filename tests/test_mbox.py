"""The mbox reader: splits where a message begins and nowhere else, with bounded memory."""

import io
import mailbox
import os
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_pipeline.documents import Item, Record, Rejected, Skipped, Source
from ingest_pipeline.errors import UnreadableFile
from ingest_pipeline.sources.base import HEAD_BYTES, Export, ReadOptions, SourceFile
from ingest_pipeline.sources.mbox import CHUNK_BYTES, READER, split_mbox, unescaped

FROM_LINE = b"From ann@example.org Mon Jan  1 10:00:00 2024\n"


def source(data: bytes, name: str = "mail.mbox") -> SourceFile:
    return SourceFile(name, len(data), 0.0, lambda: io.BytesIO(data))


def read(data: bytes, **options: int) -> list[Item]:
    return list(READER.read(Export("mbox", Source.EMAIL, (source(data),)), ReadOptions(**options)))  # type: ignore[arg-type]


def mail(number: int, body: bytes = b"Hello.\n") -> bytes:
    return FROM_LINE + b"From: a%d@example.org\nMessage-ID: <m%d@x>\n\n" % (number, number) + body + b"\n"


NEW_MESSAGE = [
    FROM_LINE,
    b"From 1234567890@xxx Mon Jan 01 10:00:00 +0000 2024\n",
    b"From - Mon Jan 01 10:00:00 2024\n",
    b"From MAILER-DAEMON Mon Jan  1 10:00:00 2024 +0100\n",
    b"From ann@example.org  Mon, 1 Jan 2024 10:00:00 +0100\n",
    b"From users-return-1=x@example.org Mon Jan  1 10:00:00 2024\r\n",
]
SAME_MESSAGE = [
    b"From here on I live in Berlin.\n",
    b"From Monday on I work from 10:00 in 2024 rooms of the office.\n",
    b"From: Mon Jan  1 10:00:00 2024\n",
    b"From 2024\n",
    b" From ann@example.org Mon Jan  1 10:00:00 2024\n",
]


@pytest.mark.parametrize("line", NEW_MESSAGE)
def test_from_lines(line: bytes) -> None:
    """A blank line, ``From ``, and something that ends in a date begin a message, in every client's wording."""
    items = read(mail(1) + line + b"From: b@example.org\n\nHi.\n")
    assert [item.text for item in items if isinstance(item, Record)] == ["Hello.", "Hi."]


@pytest.mark.parametrize("line", SAME_MESSAGE)
def test_lines_that_begin_with_from(line: bytes) -> None:
    """They are text, where the standard library would split."""
    [item] = read(mail(1, b"One.\n\n" + line + b"\nTwo.\n"))
    assert isinstance(item, Record)
    assert item.text == "One.\n\n" + line.decode().rstrip() + "\n\nTwo."


def test_a_from_line_inside_a_paragraph_is_text() -> None:
    """Without a blank line above, even a full From-line was typed or quoted by someone."""
    assert len(read(mail(1, b"One.\n" + FROM_LINE + b"Two.\n"))) == 1


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"a\n>From now on\nb", b"a\nFrom now on\nb"),
        (b"a\n> quoted\n>From now on\nb", b"a\n> quoted\n>From now on\nb"),
        (b"a\n>From now on\n> quoted\nb", b"a\n>From now on\n> quoted\nb"),
        (b"a\n>>From now on\nb", b"a\n>>From now on\nb"),
        (b"a\n> From now on\nb", b"a\n> From now on\nb"),
        (b"a\n>From", b"a\n>From"),
    ],
)
def test_unescaping(data: bytes, expected: bytes) -> None:
    """One ``>`` put there by the mailbox's writer goes; quoted lines stay quoted."""
    assert unescaped(data) == expected


def test_positions_are_byte_offsets() -> None:
    """Each item says where its From-line begins."""
    first, second = mail(1), mail(2)
    items = read(first + second)
    assert [item.position for item in items if isinstance(item, Record)] == ["byte 0", f"byte {len(first)}"]
    assert [item.metadata["offset"] for item in items if isinstance(item, Record)] == [0, len(first)]


@pytest.mark.parametrize("pad", [0, 1, 2, 3, 20, 46, 47, 500, 1_000])
def test_from_lines_across_chunks(pad: int) -> None:
    """A From-line cut by the end of a chunk is found."""
    head = mail(1, b"")
    filler = b"x" * (CHUNK_BYTES - len(head) - pad - 2)
    first = head + filler + b"\n\n"
    assert [raw.offset for raw in split_mbox(io.BytesIO(first + mail(2)), 10_000_000)] == [0, len(first)]


class _Zeros(io.RawIOBase):
    """A mailbox of ``size`` bytes in its first message, and a small second one; never in memory."""

    def __init__(self, size: int) -> None:
        self._parts = iter([mail(1), *[b"x" * 1_000_000 + b"\n"] * (size // 1_000_000), b"\n" + mail(2)])

    def read(self, size: int = -1) -> bytes:
        return next(self._parts, b"")


def test_a_message_over_the_cap_is_rejected_without_being_held() -> None:
    """With its position; the next one is read. Memory stays near the cap."""
    stream: BinaryIO = _Zeros(200_000_000)  # type: ignore[assignment]
    file = SourceFile("big.mbox", 0, 0.0, lambda: stream)
    tracemalloc.start()
    items = list(READER.read(Export("mbox", Source.EMAIL, (file,)), ReadOptions(max_message_bytes=5_000_000)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert items[0] == Rejected("big.mbox", "byte 0", "the message is larger than 5000000 bytes")
    assert isinstance(items[1], Record)
    assert peak < 20_000_000


def test_cap_is_exact() -> None:
    """A message of exactly the cap is read, one byte more is not."""
    size = len(mail(1))
    assert isinstance(read(mail(1) + mail(2), max_message_bytes=size)[0], Record)
    assert isinstance(read(mail(1) + mail(2), max_message_bytes=size - 1)[0], Rejected)


def test_no_mailbox() -> None:
    """A file without any From-line is unreadable as a whole."""
    with pytest.raises(UnreadableFile):
        read(b"From \nnothing\n")


@pytest.mark.parametrize(
    ("name", "head", "found"),
    [
        ("a.mbox", mail(1), True),
        ("INBOX", mail(1), True),
        ("a", b"\n\n" + mail(1), True),
        ("a", b"\xef\xbb\xbf" + mail(1), True),
        ("a.mbox", b"From \n", True),
        ("a", b"From here on\n", False),
        ("a.eml", b"From: a@b.org\n\nHi\n", False),
        ("a.mbox", b"", False),
    ],
)
def test_detect(name: str, head: bytes, found: bool) -> None:
    """By content, whatever the name."""
    assert READER.detect(source(head, name), head) is found


@given(
    st.lists(
        st.sampled_from([FROM_LINE, b"\n", b"From: a@b.org\n", b">From x\n", b"text\n", b"\r\n", b"> q\n"]), max_size=30
    )
)
def test_every_byte_is_in_one_message(lines: list[bytes]) -> None:
    """Messages follow each other without gap or overlap."""
    data = FROM_LINE + b"".join(lines)
    messages = list(split_mbox(io.BytesIO(data), 10_000))
    assert b"".join(raw.data or b"" for raw in messages) == data
    assert all((raw.data or b"").startswith(b"From ") for raw in messages)


@given(st.binary(max_size=500))
def test_any_bytes(data: bytes) -> None:
    """Only the documented outcomes, and segments inside the text."""
    for content in (data, mail(1) + data, mail(1, data) + mail(2)):
        try:
            items = read(content)
        except UnreadableFile:
            continue
        for item in items:
            assert isinstance(item, Record | Rejected | Skipped)
            if isinstance(item, Record):
                assert all(0 <= s.start <= s.end <= len(item.text) for s in item.segments)


REAL = os.environ.get("INGEST_REAL_FIXTURES")
needs_real_files = pytest.mark.skipif(not REAL, reason="INGEST_REAL_FIXTURES is not set")


def real(name: str) -> Path:
    return next(Path(REAL or "", "email_mbox").rglob(name))


def real_items(path: Path) -> Iterator[Item]:
    file = SourceFile(path.name, path.stat().st_size, 0.0, lambda: path.open("rb"))
    assert READER.detect(file, path.read_bytes()[:HEAD_BYTES])
    return READER.read(Export("mbox", Source.EMAIL, (file,)), ReadOptions())


@needs_real_files
@pytest.mark.parametrize(
    ("name", "mails", "senders", "signatures"),
    [
        ("httpd-users-2020-07.mbox", 108, 41, 4),
        ("asterix-dev-201709-mailarchivesao.mbox", 53, 17, 3),
        ("httpd-users-200606-part.mbox", 12, 4, 0),
    ],
)
def test_real_lists(name: str, mails: int, senders: int, signatures: int) -> None:
    """Every mail holds own words; all of it is list mail, which claims no profile."""
    found = [item for item in real_items(real(name)) if isinstance(item, Record)]
    records = [record for record in found if record.kind == "mail"]
    assert len(records) == mails
    assert len(found) - mails == signatures
    assert len({record.subjects[0].key for record in records}) == senders
    assert len({record.native_id for record in records}) == mails
    assert not any(record.subjects[0].claims for record in records)
    assert not any(line.startswith(">") for record in records for line in record.text.split("\n"))


@needs_real_files
def test_real_dates() -> None:
    """First and last mail of a real month."""
    moments = [item.occurred_at for item in real_items(real("httpd-users-2020-07.mbox")) if isinstance(item, Record)]
    known = [moment for moment in moments if moment is not None]
    assert min(known) == datetime(2020, 7, 1, 5, 3, 41, tzinfo=UTC)
    assert max(known) == datetime(2020, 7, 31, 19, 1, 12, tzinfo=UTC)


@needs_real_files
def test_real_splits_are_the_standard_librarys() -> None:
    """On well-formed files both find the same messages."""
    for path in Path(REAL or "", "email_mbox").rglob("httpd*.mbox"):
        box = mailbox.mbox(path, create=False)
        expected = len(box)
        box.close()
        with path.open("rb") as stream:
            assert sum(1 for _ in split_mbox(stream, 10**8)) == expected


@needs_real_files
def test_real_odd_mailboxes() -> None:
    """An empty body, HTML only, enriched text, a mailbox without any date."""
    assert [type(item) for item in real_items(real("empty_body.mbox"))] == [Skipped]
    assert [type(item) for item in real_items(real("nexus-html-only.mbox"))] == [Record] * 3
    assert [type(item) for item in real_items(real("text_enriched.mbox"))] == [Record]
    with pytest.raises(UnreadableFile):
        list(real_items(real("no_date.mbox")))
