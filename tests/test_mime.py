"""The bytes of a mail: headers, parts, charsets, dates, addresses, and which mail says nothing of its sender."""

import base64
import contextlib
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_pipeline.documents import Item, Record, Rejected, Skipped
from ingest_pipeline.sources.base import ReadOptions
from ingest_pipeline.sources.charsets import decode_text, one_line
from ingest_pipeline.sources.mail import Location, parse_address, read_mail
from ingest_pipeline.sources.mail_dates import parse_date
from ingest_pipeline.sources.mime import Message, UnreadableMail, decode_header

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DATE = "Date: Mon, 1 Jan 2024 10:00:00 +0100\n"


def read(
    headers: str, body: str = "Hello there.\n", *, options: ReadOptions | None = None, envelope: bytes = b""
) -> Item:
    data = f"{headers}\n{body}".encode()
    return read_mail(data, Location("a.eml", "byte 0", envelope), options or ReadOptions(), NOW)[0]


def record(headers: str, body: str = "Hello there.\n", **more: object) -> Record:
    item = read(headers, body, **more)  # type: ignore[arg-type]
    assert isinstance(item, Record), item
    return item


FROM = "From: Ann Lee <ann@example.org>\n" + DATE


def multipart(kind: str, *parts: str) -> tuple[str, str]:
    """Headers and body of a multipart mail; each part is given with its own headers."""
    body = "".join(f"--b\n{part}\n" for part in parts) + "--b--\n"
    return f'{FROM}Content-Type: multipart/{kind}; boundary="b"\n', "preamble\n" + body


PLAIN = "Content-Type: text/plain\n\nPlain words."
HTML = "Content-Type: text/html\n\n<p>Marked <b>words</b></p>"
BODIES = {
    "plain before HTML": (multipart("alternative", PLAIN, HTML), "Plain words."),
    "HTML when the plain part is empty": (
        multipart("alternative", "Content-Type: text/plain\n\n", HTML),
        "Marked words",
    ),
    "HTML alone": ((f"{FROM}Content-Type: text/html\n", "<p>a</p><p>b</p>"), "a\n\nb"),
    "HTML quotes are quotes": ((f"{FROM}Content-Type: text/html\n", "<p>a</p><blockquote>theirs</blockquote>"), "a"),
    "all inline texts": (multipart("mixed", PLAIN, "Content-Type: text/plain\n\nMore."), "Plain words.\n\nMore."),
    "no attachment": (
        multipart("mixed", PLAIN, "Content-Type: text/plain\nContent-Disposition: attachment\n\nNot read."),
        "Plain words.",
    ),
    "no named part": (multipart("mixed", PLAIN, "Content-Type: text/plain; name=a.txt\n\nNot read."), "Plain words."),
    "no attached mail": (
        multipart("mixed", PLAIN, "Content-Type: message/rfc822\n\nFrom: bo@example.org\n\nNot Ann's."),
        "Plain words.",
    ),
    "nested": (
        multipart("mixed", f"Content-Type: multipart/alternative; boundary=c\n\n--c\n{PLAIN}\n--c\n{HTML}\n--c--"),
        "Plain words.",
    ),
    "boundaries that begin alike": (multipart("mixed", PLAIN + "\n--bb\nstill text"), "Plain words.\n--bb\nstill text"),
    "a boundary that never occurs": ((f"{FROM}Content-Type: multipart/mixed; boundary=x\n", "Words."), "Words."),
    "a truncated multipart": ((f"{FROM}Content-Type: multipart/mixed; boundary=b\n", f"--b\n{PLAIN}"), "Plain words."),
    "quoted-printable": (
        (f"{FROM}Content-Transfer-Encoding: quoted-printable\n", "caf=C3=A9 is=\n fine"),
        "café is fine",
    ),
    "base64": (
        (f"{FROM}Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n", "Y2Fmw6k=\n"),
        "café",
    ),
    "damaged base64 keeps what is whole": (
        (f"{FROM}Content-Transfer-Encoding: base64\n", "SGVsbG8!gdGhlcmU\n"),
        "Hello there",
    ),
    "enriched text": ((f"{FROM}Content-Type: text/enriched\n", "<bold>One</bold>\nline << two"), "One line < two"),
    "an unknown transfer encoding": ((f"{FROM}Content-Transfer-Encoding: spam\n", "Words."), "Words."),
    "Windows line ends": ((FROM.replace("\n", "\r\n") + "\r", "One.\r\nTwo.\r\n"), "One.\nTwo."),
    "old Mac line ends": ((FROM.replace("\n", "\r"), "\rOne.\rTwo.".replace("\n", "\r")), "One.\nTwo."),
}


@pytest.mark.parametrize("name", BODIES)
def test_body(name: str) -> None:
    """Only the text that the sender typed, from whichever part holds it."""
    (headers, body), text = BODIES[name]
    if name == "old Mac line ends":
        [item] = read_mail((headers + body).encode(), Location("a", "byte 0"), ReadOptions(), NOW)
        assert isinstance(item, Record)
        assert item.text == text
    else:
        assert record(headers, body).text == text


SKIPPED = {
    "Auto-Submitted: auto-replied\n": "automatic_mail",
    "Precedence: junk\n": "automatic_mail",
    "Precedence: auto_reply\n": "automatic_mail",
    "X-Autoreply: yes\n": "automatic_mail",
    "Return-Path: <>\n": "automatic_mail",
    "Content-Type: multipart/report; boundary=b\n": "automatic_mail",
    "X-Gmail-Labels: =?UTF-8?Q?Chat?=,Important\n": "chat_message",
    "X-Gmail-Labels: Spam\n": "spam",
}


@pytest.mark.parametrize("header", SKIPPED)
def test_mail_that_no_person_wrote(header: str) -> None:
    """RFC 3834 and what programs really send."""
    assert read(FROM + header) == Skipped("a.eml", SKIPPED[header])


@pytest.mark.parametrize(
    "local",
    [
        "noreply",
        "no-reply",
        "do-not-reply",
        "donotreply",
        "mail-noreply",
        "noreply+x",
        "MAILER-DAEMON",
        "postmaster",
        "bounces",
    ],
)
def test_senders_that_are_no_person(local: str) -> None:
    """By the local part of the address."""
    assert read(f"From: <{local}@example.org>\n") == Skipped("a.eml", "automatic_mail")


@pytest.mark.parametrize("local", ["noreen.plyer", "norbert", "ann+reply", "postmasters.widow", "bouncer"])
def test_senders_that_only_look_automatic(local: str) -> None:
    """They are people."""
    assert record(f"From: <{local}@example.org>\n").subjects[0].key.value == f"{local}@example.org"


def test_auto_submitted_no_is_a_person() -> None:
    """RFC 3834: "no" marks mail written by hand."""
    assert record(FROM + "Auto-Submitted: no\n").text == "Hello there."


def test_internal_senders_are_skipped() -> None:
    """The company's own staff are no profiles, sub-domains included."""
    options = ReadOptions(internal_domains=frozenset({"example.org"}))
    assert read("From: a@mail.example.org\n", options=options) == Skipped("a.eml", "internal_sender")
    assert isinstance(read("From: a@notexample.org\n", options=options), Record)


@pytest.mark.parametrize(
    "header", ["List-Id: <x>\n", "List-Unsubscribe: <x>\n", "Precedence: bulk\n", "Precedence: list\n"]
)
def test_list_mail_claims_no_profile(header: str) -> None:
    """A person wrote it, so it is a record, but it creates nobody."""
    found = record(FROM + header)
    assert found.subjects[0].claims is False
    assert found.metadata["list"] is True
    assert record(FROM).subjects[0].claims is True


REJECTED = {
    "no sender address": ("Subject: x\n", "Hi"),
    "unreadable: encrypted": (f"{FROM}Content-Type: multipart/encrypted; boundary=b\n", "--b--"),
    "unreadable: parts nested deeper than 50": (
        f"{FROM}Content-Type: multipart/mixed; boundary=b0\n",
        "".join(f"--b{n}\nContent-Type: multipart/mixed; boundary=b{n + 1}\n\n" for n in range(1_500)),
    ),
    "unreadable: more than 1000 parts": (
        f"{FROM}Content-Type: multipart/mixed; boundary=b\n",
        "--b\n\nx\n" * 2_000,
    ),
}


@pytest.mark.parametrize("reason", REJECTED)
def test_mail_that_cannot_be_read(reason: str) -> None:
    """It is rejected with its position; nothing of it is in the reason."""
    assert read(*REJECTED[reason]) == Rejected("a.eml", "byte 0", reason)


def test_inline_pgp_and_smime_are_encrypted() -> None:
    """Both forms of encryption are named as such."""
    assert isinstance(read(FROM, "-----BEGIN PGP MESSAGE-----\n\nabc\n"), Rejected)
    assert isinstance(read(FROM + "Content-Type: application/pkcs7-mime\n", "abc"), Rejected)


def test_empty_and_only_quoted_mail_is_counted_apart() -> None:
    """Nothing written is not the same as nothing of one's own."""
    assert read(FROM, " \n\n") == Skipped("a.eml", "empty")
    assert read(FROM, "> theirs\n") == Skipped("a.eml", "only_quoted_text")
    assert read(FROM, "Begin forwarded message:\n\ntheirs\n") == Skipped("a.eml", "only_quoted_text")


def test_record_of_a_mail() -> None:
    """What a record holds: own text, one segment, sender, ids, thread, date."""
    found = record(
        'From: "Lee, =?utf-8?q?=C3=84nn?=" <Ann@Example.org>\nSubject: =?utf-8?b?w4Q=?=\n  two\n'
        f"Message-ID: <m2@x>\nReferences: <m0@x> <m1@x>\nTo: a@x.org, b@x.org\n{DATE}",
        "Mine.\n\nBo wrote:\n> theirs\n-- \nAnn\n",
    )
    assert found.text == "Mine."
    [segment] = found.segments
    assert (segment.start, segment.end, segment.speaker, segment.native_id) == (0, 5, "ann@example.org", "m2@x")
    assert found.subjects[0].name == "Lee, Änn"
    assert found.native_id.startswith("m2@x:")
    assert found.occurred_at == datetime(2024, 1, 1, 9, tzinfo=UTC)
    assert found.metadata == {
        "message_id": "m2@x",
        "thread": "m0@x",
        "subject": "Ä two",
        "date_source": "date",
        "list": False,
        "to_count": 2,
        "cleaning": ["quoted_text_left_out", "signature_split_off"],
    }


def test_same_id_other_body_is_another_document() -> None:
    """And the same body is the same document, wherever it is read and whatever a list appended."""
    first = record(FROM + "Message-ID: <m@x>\n", "One.\n").native_id
    assert record(FROM + "Message-ID: <m@x>\nReceived: x\n", f"One.\n\n{'_' * 9}\nx mailing list\n").native_id == first
    assert record(FROM + "Message-ID: <m@x>\n", "Two.\n").native_id != first
    assert record(FROM, "One.").native_id == record(FROM, "One.").native_id != record(FROM, "Two.").native_id


def test_what_was_done_to_the_body_is_kept() -> None:
    """Only what was done."""
    html = FROM + "Content-Type: text/html\n"
    assert "cleaning" not in record(FROM, "Hello there.").metadata
    assert record(html, "<p>Hello</p><blockquote>theirs</blockquote>").metadata["cleaning"] == [
        "markup_removed", "quoted_text_left_out",
    ]  # fmt: skip
    body = "Hello.\n\n-- \nAnn Lee\nCTO\n\nOn Mon, 8 Jan 2024, Bo <bo@x.org> wrote:\n> Theirs.\n"
    assert record(FROM, body).metadata["cleaning"] == ["quoted_text_left_out", "signature_split_off"]
    forward = "See below.\n\n---------- Forwarded message ---------\nFrom: Bo <bo@x.org>\n\nTheirs.\n"
    assert record(FROM, forward).metadata["cleaning"] == ["quoted_text_left_out", "forwarded_text_left_out"]


def test_markup_that_gives_no_text_is_a_warning() -> None:
    """Nothing is lost in silence: another part's text is kept with it."""
    hidden = 'Content-Type: text/html\n\n<div style="display:none">All of it</div>'
    found = record(*multipart("mixed", PLAIN, hidden))
    assert (found.text, found.metadata["warnings"]) == ("Plain words.", ["markup_without_text"])


ADDRESSES = [
    ("ann@example.org", (None, "ann@example.org")),
    ("Ann Lee <ANN@example.org>", ("Ann Lee", "ann@example.org")),
    ('"Lee, Ann" <ann@example.org>', ("Lee, Ann", "ann@example.org")),
    ('"a@evil.org" <ann@example.org>', (None, "ann@example.org")),
    ("a@evil.org <ann@example.org>", (None, "ann@example.org")),
    ("ann@example.org (Ann Lee)", ("Ann Lee", "ann@example.org")),
    ("=?utf-8?q?Ann_=3Ceve=40evil=2Eorg=3E?= <ann@example.org>", (None, "ann@example.org")),
    ("=?utf-8?q?=E2=80=AEAnn?= Lee <ann@example.org>", ("Ann Lee", "ann@example.org")),
    ("Ann <ann@example.org>, Bo <bo@example.org>", ("Ann", "ann@example.org")),
    ("ann@example.org, Bo <bo@example.org>", (None, "ann@example.org")),
    ("Lee, Ann <ann@example.org>", ("Lee, Ann", "ann@example.org")),
    ("Ann <Ann+News@example.org>", ("Ann", "ann+news@example.org")),  # with its tag: not every server ignores that
    ("undisclosed", None),
    ("<>", None),
    ("", None),
]


@pytest.mark.parametrize(("raw", "expected"), ADDRESSES)
def test_addresses(raw: str, expected: tuple[str | None, str] | None) -> None:
    """The raw header is parsed first, then the name is decoded, so that no encoded name can pose as an address."""
    assert parse_address(raw) == expected


DATES = [
    ("Mon, 1 Jan 2024 10:00:00 +0100", datetime(2024, 1, 1, 9, tzinfo=UTC), []),
    ("1 Jan 2024 10:00 -0000", datetime(2024, 1, 1, 10, tzinfo=UTC), []),
    ("Mon, 1 Jan 2024 10:00:00 GMT", datetime(2024, 1, 1, 10, tzinfo=UTC), []),
    ("Mon, 1 Jul 2024 10:00:00 CEST", datetime(2024, 7, 1, 8, tzinfo=UTC), []),
    ("Mon, 1 Jan 2024 10:00:00 +0100 (CET)", datetime(2024, 1, 1, 9, tzinfo=UTC), []),
    ("Mon, 1 Jan 2024 10:00:00", datetime(2024, 1, 1, 9, tzinfo=UTC), ["no_zone"]),
    ("Mon, 1 Jan 2024 10:00:00 XYZ", datetime(2024, 1, 1, 9, tzinfo=UTC), ["unknown_zone"]),
    ("Mon, 1 Jan 24 10:00:00 +0000", datetime(2024, 1, 1, 10, tzinfo=UTC), ["two_digit_year"]),
    ("Mon Jan  1 10:00:00 2024 +0000", datetime(2024, 1, 1, 10, tzinfo=UTC), []),
    ("2024-01-01T10:00:00Z", datetime(2024, 1, 1, 10, tzinfo=UTC), []),
    ("Mon, 31 Feb 2024 10:00:00 +0000", None, ["unreadable_date"]),
    ("Mon, 1 Foo 2024 10:00:00 +0000", None, ["unreadable_date"]),
    ("yesterday", None, ["unreadable_date"]),
]


@pytest.mark.parametrize(("raw", "moment", "warnings"), DATES)
def test_dates(raw: str, moment: datetime | None, warnings: list[str]) -> None:
    """A time without a zone is in the zone of the setting, here Berlin, and says so."""
    assert parse_date(raw, "Europe/Berlin") == (moment, warnings)


RECEIVED = "Received: by a; Tue, 2 Jan 2024 10:00:00 +0000\nReceived: by b; Tue, 2 Jan 2024 09:00:00 +0000\n"
LADDER = [
    (DATE + RECEIVED, "date", datetime(2024, 1, 1, 9, tzinfo=UTC), None),
    (RECEIVED, "received", datetime(2024, 1, 2, 9, tzinfo=UTC), None),
    ("Date: nonsense\n" + RECEIVED, "received", datetime(2024, 1, 2, 9, tzinfo=UTC), ["unreadable_date"]),
    ("", "from_line", datetime(2024, 1, 3, 9, tzinfo=UTC), ["no_zone"]),
]


@pytest.mark.parametrize(("headers", "source", "moment", "warnings"), LADDER)
def test_date_ladder(headers: str, source: str, moment: datetime, warnings: list[str] | None) -> None:
    """Date, then the first hop, then the From-line; which one it was is kept."""
    found = record("From: a@x.org\n" + headers, envelope=b"From a@x.org Wed Jan  3 09:00:00 2024")
    assert (found.metadata["date_source"], found.occurred_at, found.metadata.get("warnings")) == (
        source,
        moment,
        warnings,
    )


@pytest.mark.parametrize(
    ("date", "warning"),
    [("Thu, 1 Jan 1970 00:00:00 +0000", "date_before_1980"), ("Mon, 5 Jan 2026 00:00:00 +0000", "date_in_future")],
)
def test_impossible_dates_are_dropped(date: str, warning: str) -> None:
    """The record is kept, without a date, and flagged."""
    found = record(f"From: a@x.org\nDate: {date}\n")
    assert (found.occurred_at, found.metadata["date_source"], found.metadata["warnings"]) == (None, "none", [warning])
    assert found.segments[0].occurred_at is None


CHARSETS = [
    (b"caf\xc3\xa9", "utf-8", "café", None),
    (b"caf\xe9", "iso-8859-1", "café", None),
    (b"caf\xe9", "", "café", "cp1252"),
    (b"caf\xc3\xa9", "", "café", "utf-8"),
    (b"caf\xc3\xa9", "us-ascii", "café", "utf-8"),
    (b"caf\xc3\xa9", "no-such-charset", "café", "utf-8"),
    (b"caf\xc3\xa9", "base64", "café", "utf-8"),
    (b"\xff\xfea\x00\xe9\x00", "", "aé", "utf-16"),
    (b"\x93hi\x94", "iso-8859-1", "“hi”", None),
    ("日本".encode("shift_jis"), "shift_jis", "日本", None),
    ("日本".encode("iso-2022-jp"), "iso-2022-jp", "日本", None),
    ("한국".encode("euc-kr"), "ks_c_5601-1987", "한국", None),
    (b"a\x00b", "utf-8", "ab", None),
    ("éèàùç".encode() + b"\xff", "utf-8", "éèàùç\ufffd", None),
]


@pytest.mark.parametrize(("raw", "declared", "text", "used"), CHARSETS)
def test_charsets(raw: bytes, declared: str, text: str, used: str | None) -> None:
    """Declared, then byte-order mark, UTF-8, cp1252; which one it was is told when it was not the declared one."""
    decoded, charset, _ = decode_text(raw, declared)
    assert (decoded, charset) == (text, used)


HEADERS = [
    ("plain", "plain"),
    ("=?utf-8?q?a_=C3=A9?=", "a é"),
    ("=?utf-8?b?w6k=?= =?utf-8?b?w6k=?=", "éé"),
    ("=?utf-8?b?4oI=?= =?utf-8?b?rA==?=", "€"),
    ("=?utf-8?q?a?= b =?utf-8?q?c?=", "a b c"),
    ("=?no-such?q?caf=C3=A9?=", "café"),
    ("=?utf-8?b?####?=", ""),
    ("=?broken", "=?broken"),
]


@pytest.mark.parametrize(("raw", "text"), HEADERS)
def test_encoded_words(raw: str, text: str) -> None:
    """RFC 2047, leniently; a character split over two words is whole again."""
    assert decode_header(raw) == text


def test_damaged_header_lines_do_not_hide_the_sender() -> None:
    """A line that is no header is passed over as long as the sender was not named."""
    assert (
        record("Received: x\nquite Delivered-To: y\nFrom: ann@example.org\n").subjects[0].key.value == "ann@example.org"
    )


def test_names_are_one_line() -> None:
    """No control character or direction mark gets into a name."""
    assert one_line("Ann\r\n\u202eLee\u2069 \x00") == "Ann Lee"


def test_a_large_attachment_costs_nothing() -> None:
    """Attachments are never decoded: a 20 MB one adds no text."""
    blob = base64.encodebytes(b"x" * 2_000_000).decode()
    attachment = f"Content-Type: application/pdf\nContent-Transfer-Encoding: base64\n\n{blob}"
    assert record(*multipart("mixed", PLAIN, attachment)).text == "Plain words."


@given(st.binary(max_size=400))
def test_any_bytes_are_some_mail(data: bytes) -> None:
    """Nothing but the documented outcomes, for arbitrary bytes after a valid head as well."""
    for prefix in (b"", b"From: a@b.org\n", b"From: a@b.org\nContent-Type: multipart/mixed; boundary=b\n\n--b\n"):
        item, *_ = read_mail(prefix + data, Location("f", "byte 0"), ReadOptions(), NOW)
        assert isinstance(item, Record | Rejected | Skipped)
        if isinstance(item, Record):
            assert all(0 <= s.start <= s.end <= len(item.text) for s in item.segments)
            item.text.encode()


@given(
    st.binary(max_size=200),
    st.sampled_from(["utf-8", "utf-7", "utf-16", "hz", "iso-2022-jp", "idna", "zip", "\x00", ""]),
)
def test_any_bytes_decode(raw: bytes, declared: str) -> None:
    """Unknown, wrong and hostile charset names included; the result can always be stored."""
    text, _, _ = decode_text(raw, declared)
    text.encode()
    assert "\x00" not in text


HEADER_TEXT = st.text(st.sampled_from('=?utf-8bq_ <>@,"()\\aé\n\t:;'), max_size=60)


@given(HEADER_TEXT)
def test_any_header_decodes(raw: str) -> None:
    """Header functions never raise."""
    decode_header(raw)
    parse_address(raw)
    parse_date(raw, "UTC")


@given(st.text(st.sampled_from("-b\nContent-Type: multipart/mixed; boundary=b\n\n"), max_size=200))
def test_any_structure_ends(body: str) -> None:
    """Boundaries in any order give a body or UnreadableMail."""
    with contextlib.suppress(UnreadableMail):
        Message(b"Content-Type: multipart/mixed; boundary=b\n\n" + body.encode()).body()


HOSTILE = {
    "a long sender without an address": ("From: " + "a" * 1_000_000 + "\n", "x"),
    "many half addresses": ("From: " + "<a@" * 300_000 + "\n", "x"),
    "a million spaces in a forward line": (FROM, "---forwarded by " + " " * 1_000_000 + "x"),
    "a line of a million dashes": (FROM, "-" * 1_000_000 + "x"),
    "a million colons": (FROM, ":" * 1_000_000),
    "20,000 lines that end in a colon": (FROM, "he wrote:\n" * 20_000),
    "a thousand header lines": (FROM, "From: a@b.org\n" * 100_000),
    "many unclosed parameters": (FROM + "Content-Type: text/enriched\n", "<param>" * 100_000),
    "a long content type": (FROM + "Content-Type: text/plain" + ";" * 500_000 + "\n", "x"),
    "many encoded words": (FROM + "Subject: " + "=?utf-8?q?" * 100_000 + "\n", "x"),
    "a long date": ("From: a@b.org\nDate: " + "1 " * 500_000 + "\n", "x"),
    "a boundary on every line": (FROM + "Content-Type: multipart/mixed; boundary=b\n", "--bx\n" * 200_000),
    "many list footers": (FROM, "-----\nunsubscribe\n" * 100_000),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_mail_takes_bounded_time(name: str) -> None:
    """No pattern goes back and forth over a long line."""
    started = time.perf_counter()
    read(*HOSTILE[name])
    assert time.perf_counter() - started < 5


@given(
    st.text(st.sampled_from("Ann Lée-O.,'\"\\=?_(<@"), max_size=12),
    st.sampled_from(["ann@example.org", "A.B+c@x-y.example.org", "ann@localhost", "a..b@x.org"]),
)
def test_plain_addresses_are_read_as_all_others(name: str, address: str) -> None:
    """The short way gives what the long way gives, which a leading space takes."""
    raw = f"{name}<{address}>"
    assert parse_address(raw) == parse_address(f" {raw}")


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@given(
    st.lists(st.sampled_from(["From: a@b.org", "X: 1", " folded", "damaged line", "X-Y : 2", "x: é", ""]), max_size=6)
)
def test_header_blocks_read_at_once_or_line_by_line(newline: str, lines: list[str]) -> None:
    """Both ways find the same fields: a field with a space before its colon is read line by line."""
    block = newline.join(["X: 0", *lines, "From: end@b.org", "", "body"])
    headers = Message(block.encode()).headers
    slowly = Message(f"Z : 1{newline}{block}".encode()).headers
    for name in ("from", "x", "x-y"):
        assert headers.get_all(name) == slowly.get_all(name)
