"""Zips of mail, Gmail's Takeout first: what is no mail that someone sent is left out and counted."""

import base64
import io
import zipfile
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_pipeline.documents import Item, Record, Rejected, Skipped, Source
from ingest_pipeline.errors import UnreadableFile
from ingest_pipeline.sources import registry
from ingest_pipeline.sources.base import Export, ReadOptions, SourceFile
from ingest_pipeline.sources.takeout import READER

FROM_LINE = "From 1790000000000000001@xxx Mon Jan 01 10:00:00 +0000 2024\n"
MAIL = "From: Ann <ann@example.org>\nSubject: Hi\n\nHello.\n"


def entry(labels: str, number: int = 1, headers: str = "") -> str:
    """A message as Takeout writes it."""
    return (
        f"{FROM_LINE}X-GM-THRID: 179000000000000000{number}\nX-Gmail-Labels: {labels}\n"
        f"Message-ID: <{number}@x.example>\n{headers}{MAIL}\n"
    )


def encoded(labels: str) -> str:
    return f"=?UTF-8?Q?{''.join(f'={byte:02X}' for byte in labels.encode())}?="


def archive(members: dict[str, str]) -> SourceFile:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
        for name, text in members.items():
            target.writestr(name, text)
    data = out.getvalue()
    return SourceFile("email/takeout.zip", len(data), 0.0, lambda: io.BytesIO(data))


def read(members: dict[str, str], **options: int) -> list[Item]:
    export = Export("mail_zip", Source.EMAIL, (archive(members),))
    return list(READER.read(export, ReadOptions(**options)))  # type: ignore[arg-type]


def skipped(items: list[Item]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for item in items:
        if isinstance(item, Skipped):
            counts[item.reason] += item.units
    return dict(counts)


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ("Inbox,Important,Opened", None),
        ("Archived,Chat about drafts", None),
        ("Chat", "chat_message"),
        ("Inbox,Spam", "spam"),
        ("Trash,Opened", "trash"),
        ("Drafts", "draft"),
        (encoded("Entwürfe"), "draft"),
        (encoded("Geöffnet,Papierkorb"), "trash"),
        (encoded("Корзина"), "trash"),
        (encoded("ゴミ箱"), "trash"),
        (encoded("Correo no deseado"), "spam"),
        (f"=?UTF-8?B?{base64.b64encode('Papelera,Leídos'.encode()).decode()}?=", "trash"),
        ('"Inbox,Trash"', "trash"),
        ("Inbox,\n Spam", "spam"),
    ],
)
def test_labels(labels: str, reason: str | None) -> None:
    """In the account's language, encoded or not: chats, spam, trash and drafts are nobody's mail to us."""
    [item] = read({"Takeout/Mail/All mail.mbox": entry(labels)})
    assert (item.reason if isinstance(item, Skipped) else None) == reason


def test_threads_and_places() -> None:
    """Gmail's thread number is kept beside the one of the mails' own headers; positions name the member."""
    second = entry("Inbox", 2, "References: <0@x.example> <1@x.example>\n")
    items = read({"Takeout/Mail/All mail.mbox": entry("Inbox") + second})
    first, reply = (item for item in items if isinstance(item, Record))
    assert (first.metadata["thread"], first.metadata["gmail_thread"]) == ("1@x.example", "1790000000000000001")
    assert (reply.metadata["thread"], reply.metadata["gmail_thread"]) == ("0@x.example", "1790000000000000002")
    assert first.position == "Takeout/Mail/All mail.mbox, byte 0"
    assert first.metadata["member"] == "Takeout/Mail/All mail.mbox"


def test_a_zip_of_all_sorts() -> None:
    """Mailboxes, single mails and Maildirs are read; what is no mail is counted, a broken member rejected."""
    items = read(
        {
            "Takeout/archive_browser.html": "<html>",
            "Takeout/Contacts/All.vcf": "BEGIN:VCARD",
            "Takeout/Mail/A.mbox": entry("Inbox"),
            "Takeout/Mail/B.mbox": "nothing",
            "Takeout/Mail/C.mbox": "",
            "saved/one.eml": MAIL.replace("Hello", "Saved"),
            "box/cur/17.host:2,S": MAIL.replace("Hello", "Delivered"),
            "box/tmp/18.host": MAIL,
        }
    )
    assert [item.text for item in items if isinstance(item, Record)] == ["Hello.", "Saved.", "Delivered."]
    assert [item.position for item in items if isinstance(item, Rejected)] == ["Takeout/Mail/B.mbox"]
    assert skipped(items) == {"empty": 1, "maildir_tmp": 1, "not_mail": 2}


def test_a_large_message_of_a_member_is_rejected() -> None:
    """With the member and its place in it; the next one is read."""
    items = read({"a.mbox": entry("Inbox", 1) + f"{'x' * 5_000}\n\n" + entry("Inbox", 2)}, max_message_bytes=1_000)
    assert [type(item) for item in items] == [Rejected, Record]
    assert items[0] == Rejected("email/takeout.zip", "a.mbox, byte 0", "the message is larger than 1000 bytes")


def test_a_zip_without_mail() -> None:
    """Is unreadable as a whole, with a line that says what is looked for."""
    with pytest.raises(UnreadableFile, match="no mailbox"):
        read({"a.txt": "x"})


def test_a_damaged_member_stops_nothing() -> None:
    """Its mails up to the damage are kept, the other members are read."""
    file = archive({"a.mbox": entry("Inbox", 1), "b.mbox": entry("Inbox", 2)})
    data = bytearray(file.opener().read())
    data[60] ^= 0xFF
    broken = SourceFile(file.name, len(data), 0.0, lambda: io.BytesIO(data))
    items = list(READER.read(Export("mail_zip", Source.EMAIL, (broken,)), ReadOptions()))
    assert items[0] == Rejected("email/takeout.zip", "a.mbox", "this member of the zip is damaged")
    assert isinstance(items[-1], Record)


def test_the_registry_knows_it_by_content() -> None:
    """Whatever the zip's name."""
    file = archive({"a.mbox": entry("Inbox")})
    assert registry.detect(Source.EMAIL, file, file.opener().read()) is READER


@given(st.binary(max_size=300), st.integers(0, 250))
def test_any_damage(junk: bytes, at: int) -> None:
    """Only the documented outcomes."""
    data = archive({"a.mbox": entry("Inbox"), "b.eml": MAIL}).opener().read()
    data = data[:at] + junk + data[at + len(junk) :]
    file = SourceFile("email/a.zip", len(data), 0.0, lambda: io.BytesIO(data))
    try:
        items = list(READER.read(Export("mail_zip", Source.EMAIL, (file,)), ReadOptions()))
    except UnreadableFile:
        return
    assert all(isinstance(item, Record | Rejected | Skipped) for item in items)
