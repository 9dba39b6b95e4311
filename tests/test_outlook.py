"""Outlook's ``.msg`` and ``.pst``: each message is read like the mail it once was."""

import io
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_pipeline.documents import Item, Record, Rejected, Skipped, Source
from ingest_pipeline.errors import UnreadableFile
from ingest_pipeline.sources import outlook, outlook_msg, outlook_pst, registry
from ingest_pipeline.sources.base import Export, Reader, ReadOptions, SourceFile
from ingest_pipeline.sources.mail import Location
from ingest_pipeline.sources.outlook import OutlookMessage, as_mail, outlook_items
from tests.ole_file import ole_bytes

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SENT = datetime(2024, 5, 1, 10, 30, tzinfo=UTC)
TICKS = 133590330000000000
"""SENT as a FILETIME."""

HEADERS = (
    "Microsoft Mail Internet Headers Version 2.0\r\nReceived: from a;\r\n\tWed, 1 May 2024 10:31:00 +0000\r\n"
    "From: Ann Lee <ann@example.org>\r\nDate: Wed, 1 May 2024 10:30:00 +0000\r\nMessage-ID: <1@example.org>\r\n"
    'Content-Type: multipart/alternative;\r\n boundary="b"\r\nReferences: <0@example.org>\r\n\r\n'
)


def msg(texts: dict[int, str], numbers: dict[int, int] | None = None, streams: dict[str, bytes] | None = None) -> bytes:
    """A ``.msg`` with these string and fixed-size properties."""
    table = b"\0" * 32
    for number, value in (numbers or {}).items():
        table += struct.pack("<HHIq", 0x0040 if value > 2**32 else 0x0003, number, 6, value)
    properties = {f"__substg1.0_{number:04X}001F": text.encode("utf-16-le") for number, text in texts.items()}
    return ole_bytes({"__properties_version1.0": table, **properties, **(streams or {})})


def read(data: bytes, name: str = "a.msg", options: ReadOptions | None = None) -> list[Item]:
    file = SourceFile(name, len(data), 0.0, lambda: io.BytesIO(data))
    reader = registry.detect(Source.EMAIL, file, data[:65_536])
    assert reader is not None
    return list(reader.read(Export(reader.format, Source.EMAIL, (file,)), options or ReadOptions()))


def record(items: Sequence[Item]) -> Record:
    [item] = items
    assert isinstance(item, Record), item
    return item


def test_a_message_with_its_headers() -> None:
    """As it was received: sender, ids and date of its headers, text of its body; how the body was packed is past."""
    found = record(read(msg({outlook.HEADERS: HEADERS, outlook.BODY: "I moved to Lisbon.\r\n"})))
    assert (found.text, str(found.subjects[0].key), found.subjects[0].name) == (
        "I moved to Lisbon.", "email:ann@example.org", "Ann Lee",
    )  # fmt: skip
    assert (found.occurred_at, found.metadata["message_id"]) == (SENT, "1@example.org")
    assert (found.metadata["thread"], found.metadata["date_source"]) == ("0@example.org", "date")


def test_a_message_without_headers() -> None:
    """Sent from Outlook itself: what its properties say. The address of Exchange is none."""
    texts = {
        outlook.SUBJECT: "Hi", outlook.SENDER_NAME: 'Lee, "Ann"', outlook.SENDER_ADDRESS: "/O=X/OU=Y/CN=ANN",
        outlook.SENDER_SMTP: "Ann@Example.org", outlook.MESSAGE_ID: "<1@example.org>", outlook.BODY: "Jürgen → Łódź",
    }  # fmt: skip
    found = record(read(msg(texts, {0x0039: TICKS})))
    assert (found.text, str(found.subjects[0].key)) == ("Jürgen → Łódź", "email:ann@example.org")
    assert (found.subjects[0].name, found.occurred_at) == ("Lee, 'Ann", SENT)
    assert (found.metadata["subject"], found.metadata["message_id"]) == ("Hi", "1@example.org")


def test_bodies() -> None:
    """Plain text goes before HTML; old files have code pages; RTF alone is rejected with that reason."""
    sender = {outlook.SENDER_SMTP: "ann@example.org"}
    html = {f"__substg1.0_{outlook.HTML:04X}0102": "<p>Grüße</p><p>Zwei</p>".encode("cp1252")}
    assert record(read(msg(sender, {0x3FDE: 1252}, html))).text == "Grüße\n\nZwei"
    assert record(read(msg({**sender, outlook.BODY: "Plain"}, {0x3FDE: 1252}, html))).text == "Plain"
    narrow = {f"__substg1.0_{outlook.BODY:04X}001E": "Добрый день".encode("cp1251")}
    assert record(read(msg(sender, {0x3FFD: 1251}, narrow))).text == "Добрый день"
    [rejected] = read(msg(sender, streams={f"__substg1.0_{outlook.RTF:04X}0102": b"LZFu"}))
    assert rejected == Rejected("a.msg", "byte 0", "the text is kept as RTF only, which is not read")


@pytest.mark.parametrize(
    ("kind", "flags", "expected"),
    [
        ("IPM.Note", 0, None),
        ("ipm.note.Custom", 0, None),
        ("IPM.Note.SMIME", 0, Rejected("f", "p", "unreadable: encrypted")),
        ("IPM.Note.SMIME.MultipartSigned", 0, None),
        ("REPORT.IPM.Note.NDR", 0, Skipped("f", "automatic_mail")),
        ("IPM.Appointment", 0, Skipped("f", "not_mail")),
        ("IPM.Contact", 0, Skipped("f", "not_mail")),
        ("IPM.Note", outlook.UNSENT, Skipped("f", "draft")),
    ],
)
def test_kinds_of_items(kind: str, flags: int, expected: Item | None) -> None:
    """Only mail that was sent is mail."""
    text = {outlook.MESSAGE_CLASS: kind, outlook.SENDER_SMTP: "ann@example.org"}
    [item] = outlook_items(OutlookMessage(text, SENT, flags, "Hello."), Location("f", "p"), ReadOptions(), NOW)
    assert item == expected if expected else isinstance(item, Record)


def test_the_header_block_cannot_be_left() -> None:
    """Whatever stands in a property, its line ends make no header and no body."""
    text = {outlook.SENDER_SMTP: "ann@example.org", outlook.SUBJECT: "Hi\r\nFrom: bo@example.org\r\n\r\nI am Bo."}
    found = record(outlook_items(OutlookMessage(text, None, 0, "Hello."), Location("f", "p"), ReadOptions(), NOW))
    assert (str(found.subjects[0].key), found.text) == ("email:ann@example.org", "Hello.")


def test_a_file_whose_size_is_not_known_is_read() -> None:
    """Not every file system tells it."""
    data = msg({outlook.SENDER_SMTP: "ann@example.org", outlook.BODY: "Hello."})
    file = SourceFile("a.msg", 0, 0.0, lambda: io.BytesIO(data))
    found = record(list(outlook_msg.READER.read(Export("msg", Source.EMAIL, (file,)), ReadOptions())))
    assert found.text == "Hello."


def test_too_large_messages() -> None:
    """Are rejected by the file's size or the text's, with the limit."""
    data = msg({outlook.SENDER_SMTP: "ann@example.org", outlook.BODY: "x" * 5_000})
    assert isinstance(read(data, options=ReadOptions(max_message_bytes=20_000))[0], Record)
    [rejected] = read(data, options=ReadOptions(max_message_bytes=1_000))
    assert isinstance(rejected, Rejected)
    assert "larger than" in rejected.reason


@pytest.mark.parametrize(
    ("reader", "name", "head", "found"),
    [
        (outlook_msg.READER, "a.msg", outlook_msg.OLE_MAGIC, True),
        (outlook_msg.READER, "a", msg({}), True),
        (outlook_msg.READER, "a.doc", outlook_msg.OLE_MAGIC + b"\0" * 600, False),
        (outlook_msg.READER, "a.msg", b"From: a@b.org", False),
        (outlook_pst.READER, "a.bin", b"!BDN\0\0\0\0SM", True),
        (outlook_pst.READER, "a.pst", b"!BDN\0\0\0\0AB", False),
        (outlook_pst.READER, "a.pst", b"", False),
    ],
)
def test_detect(reader: Reader, name: str, head: bytes, found: bool) -> None:
    """By content; other Office files are of the same kind as ``.msg``."""
    assert reader.detect(SourceFile(name, 0, 0.0, lambda: io.BytesIO(head)), head) is found


def test_without_the_library_a_line_says_what_to_install() -> None:
    """And once it is installed, the file is read: the reader's version has changed."""
    file = SourceFile("email/a.pst", 0, 0.0, io.BytesIO)
    with pytest.raises(UnreadableFile, match=r"pip install \.\[outlook\]"):
        outlook.require("no_such_library", file)
    assert outlook.reader_version(1, "no_such_library") < outlook.reader_version(1, "json")
    assert outlook.reader_version(1, "json") < outlook.reader_version(2, "no_such_library")


@given(st.binary(max_size=200), st.integers(0, 5_000))
def test_any_damage(junk: bytes, at: int) -> None:
    """A damaged ``.msg`` is unreadable as a whole, or what is whole of it is read."""
    data = msg({outlook.HEADERS: HEADERS, outlook.BODY: "Hello."})
    data = data[:at] + junk + data[at + len(junk) :]
    file = SourceFile("a.msg", len(data), 0.0, lambda: io.BytesIO(data))
    try:
        items = list(outlook_msg.READER.read(Export("msg", Source.EMAIL, (file,)), ReadOptions()))
    except UnreadableFile:
        return
    assert all(isinstance(item, Record | Rejected | Skipped) for item in items)


@given(st.dictionaries(st.sampled_from(outlook.TEXTS), st.text(max_size=50)), st.text(max_size=100))
def test_any_properties(texts: dict[int, str], body: str) -> None:
    """No property makes a mail that cannot be read."""
    message = OutlookMessage(texts, SENT, 0, body)
    assert as_mail(message)
    items = outlook_items(message, Location("f", "p"), ReadOptions(), NOW)
    assert all(isinstance(item, Record | Rejected | Skipped) for item in items)


@dataclass
class FakeFolder:
    """A folder as libpff gives it; an exception among the messages or folders is one that is damaged."""

    name: str | None
    messages: list[Any] = field(default_factory=list)
    folders: list[Any] = field(default_factory=list)

    @property
    def number_of_sub_messages(self) -> int:
        return len(self.messages)

    @property
    def number_of_sub_folders(self) -> int:
        return len(self.folders)

    def get_sub_message(self, index: int) -> Any:
        return self._given(self.messages[index])

    def get_sub_folder(self, index: int) -> Any:
        return self._given(self.folders[index])

    @staticmethod
    def _given(found: Any) -> Any:
        if isinstance(found, OSError):
            raise found
        return found


def item(number: int, kind: str = "IPM.Note", body: str = "Hello.") -> Any:
    texts = {outlook.MESSAGE_CLASS: kind, outlook.SENDER_SMTP: f"a{number}@example.org"}
    entries = [
        SimpleNamespace(entry_type=key, data=b"x", get_data_as_string=lambda value=value: value)
        for key, value in texts.items()
    ]
    entries.append(SimpleNamespace(entry_type=outlook.FLAGS, data=b"x", get_data_as_integer=lambda: 0))
    return SimpleNamespace(
        identifier=number,
        number_of_record_sets=1,
        get_record_set=lambda _: SimpleNamespace(number_of_entries=len(entries), get_entry=lambda n: entries[n]),
        plain_text_body=f"{body}\r\n".encode(),
        html_body=None,
        rtf_body=None,
        client_submit_time=SENT.replace(tzinfo=None),
        delivery_time=None,
    )


def walk(root: FakeFolder, **options: int) -> list[Item]:
    return list(outlook_pst.folder_items(root, "a.pst", ReadOptions(**options), NOW))  # type: ignore[arg-type]


def test_all_folders_of_a_mailbox_are_walked() -> None:
    """What was thrown away, junk, drafts and what is no mail is counted; what is damaged is rejected alone."""
    inbox = FakeFolder("Inbox", [item(1), OSError("libpff"), item(2, "IPM.Contact")], [FakeFolder("Below", [item(3)])])
    gone = FakeFolder("Gelöschte Elemente", [item(4), item(5)], [FakeFolder("Old", [item(6)])])
    root = FakeFolder(None, [], [FakeFolder("Top", [], [inbox, OSError("libpff"), gone, FakeFolder("Drafts")])])
    items = walk(root)
    records = [found for found in items if isinstance(found, Record)]
    assert [(found.position, found.metadata["folder"]) for found in records] == [
        ("message 1", "Top/Inbox"),
        ("message 3", "Top/Inbox/Below"),
    ]
    assert [found.occurred_at for found in records] == [SENT, SENT]
    assert sorted((found.position, found.reason) for found in items if isinstance(found, Rejected)) == [
        ("/Top, folder 1", "this folder is damaged"),
        ("/Top/Inbox, message 1", "this message is damaged"),
    ]
    assert sorted((s.reason, s.units) for s in items if isinstance(s, Skipped)) == [
        ("not_mail", 1), ("trash", 1), ("trash", 2),
    ]  # fmt: skip


def test_deep_folders_and_large_messages() -> None:
    """Have limits; nesting costs no stack."""
    deepest = FakeFolder("x", [item(1)])
    for _ in range(5_000):
        deepest = FakeFolder("x", [], [deepest])
    assert [type(found) for found in walk(deepest)] == [Rejected]
    [rejected] = walk(FakeFolder(None, [item(1, body="x" * 5_000)]), max_message_bytes=1_000)
    assert rejected == Rejected("a.pst", "message 1", "the message is larger than 1000 bytes")


@pytest.mark.skipif(not outlook.reader_version(0, "pypff"), reason="pip install .[outlook]")
def test_a_damaged_mailbox_is_unreadable() -> None:
    """With libpff itself: a file that only begins like a mailbox."""
    with pytest.raises(UnreadableFile, match="damaged"):
        read(b"!BDN\0\0\0\0SM" + b"\0" * 1_000, "a.pst")
