"""JSON of CRMs in all its shapes: whatever the bytes, there are items or one UnreadableFile, in bounded memory."""

import io
import json
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest_pipeline.documents import Record, Rejected, Source
from ingest_pipeline.errors import UnreadableFile
from ingest_pipeline.sources import hubspot, intercom, pipedrive, salesforce, zendesk
from ingest_pipeline.sources.base import HEAD_BYTES, Export, Reader, ReadOptions, SourceFile
from ingest_pipeline.sources.crm_mail import LONGEST_MARK, OwnWords, own_words, plain_text
from ingest_pipeline.sources.crm_tables import TableFile, Tables
from ingest_pipeline.sources.crm_units import Unit, id_in, list_in, object_in, read_units, text_in
from ingest_pipeline.sources.html import html_to_text
from ingest_pipeline.sources.replies import split_reply
from tests.crm_exports import OPTIONS, check, counts, encoded, formats, read, records, source

READERS = {reader.format: reader for reader in (zendesk.READER, intercom.READER, pipedrive.READER)}


def units(data: Any) -> list[Unit | Rejected]:
    raw = encoded(data)
    file = TableFile("crm/x.json", None, lambda: io.BytesIO(raw))
    return list(read_units(Tables(), file, OPTIONS, {"tickets", "data"}))


def ids(data: Any) -> list[Any]:
    return [unit.values.get("id") if isinstance(unit, Unit) else unit.reason for unit in units(data)]


# -- shapes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ([{"id": 1}, {"id": 2}], [1, 2]),
        ({"count": 2, "tickets": [{"id": 1}], "users": [{"id": 9}], "data": [{"id": 2}]}, [1, 2]),
        ({"tickets": [], "next": None}, []),
        ({"id": 1, "tickets": [{"id": 2}]}, [1]),
        ('{"id": 1}\n\n{"id": 2}\n', [1, 2]),
        ('{"id": 1}\r\n{"id": 2}', [1, 2]),
        (b"\xef\xbb\xbf" + b'{"id": 1}\n{"id": 2}\n', [1, 2]),
        ("id,name\n1,x\n2,y\n", ["1", "2"]),
        ('[{"id": 1}, 7, {"id": 2}]', [1, "Expected `object`, got `int`", 2]),
        ('{"id": 1}\n{"id": \n{"id": 2}\n', [1, "not valid JSON", 2]),
        ('[{"id": 1, "x": NaN}, {"id": 2}]', [1, 2]),
        ('[{"id": 1}] {"id": 2}', [1, "what follows the first JSON value is not read"]),
        ('{"x": 1}\n{"id": 2}\n', [None, 2]),
        ("", []),
        ("{}", []),
        ("[", ["the file is cut off"]),
    ],
)
def test_objects_are_found_in_every_shape(data: Any, expected: list[Any]) -> None:
    assert ids(data) == expected


def test_utf16_and_a_line_longer_than_the_head_are_read() -> None:
    assert ids(json.dumps([{"id": 1}]).encode("utf-16")) == [1]
    long = json.dumps({"id": 1, "comments": [{"body": "x" * HEAD_BYTES}]}) + "\n" + json.dumps({"id": 2})
    assert ids(long) == [1, 2]


@pytest.mark.parametrize("shape", ['[{}, {{"id": 2}}]', '{}\n{{"id": 2}}\n'])
def test_an_object_nested_too_deeply_is_passed_over(shape: str) -> None:
    deep = '{"id": 1, "x": ' + "[" * 10_000 + "]" * 10_000 + "}"
    found = ids(shape.format(deep))
    assert found[-1] == 2
    assert found[0] in (1, "JSON nested too deeply")


# -- values ------------------------------------------------------------------------------------------------------------


def test_values_are_taken_as_texts_ids_objects_and_lists() -> None:
    values = {
        "n": 7, "f": 7.5, "b": False, "s": " x ", "none": None, "o": {"id": 9}, "json": '{"value": 3}', "l": '["a"]',
        "bad": "{", "surrogate": "a\ud800b\0",
    }  # fmt: skip
    assert [text_in(values, key) for key in ("n", "f", "b", "s", "none", "o")] == ["7", "7.5", "false", "x", "", ""]
    assert [id_in(values, "o"), id_in(values, "none", "n")] == ["9", "7"]
    assert (object_in(values, "json"), object_in(values, "bad"), object_in(values, "l")) == ({"value": 3}, {}, {})
    assert (list_in(values, "l"), list_in(values, "n"), list_in(values, "none")) == (["a"], [7], [])
    text_in(values, "surrogate").encode()
    assert "\0" not in text_in(values, "surrogate")


def test_what_cannot_be_text_is_mended_before_it_is_stored() -> None:
    ticket = '{"id": 3, "requester_id": 7, "subject": "a\\ud800b\\u0000c", "status": "open", "description": "d"}'
    (found,) = records(read(zendesk.READER, {"t.json": ticket}))
    assert found.text == "a?bc\n\nd"


# -- any content -------------------------------------------------------------------------------------------------------

KEYS = (
    "id", "requester_id", "requester", "subject", "comments", "author_id", "public", "body", "role", "email",
    "users", "tickets", "url", "name", "updated_at", "conversation_parts", "source", "author", "type",
    "contacts", "part_type", "conversation_id", "data", "add_time", "person_id", "content", "phone",
    "participants", "due_date", "org_id", "user_fields", "tags", "custom_attributes", "location", "created_at",
)  # fmt: skip
scalars = (
    st.none() | st.booleans() | st.integers(-5, 10**20) | st.floats() | st.text(max_size=8)
    | st.sampled_from(["7", "end-user", "user", "admin", "conversation", "note", "a@x.org", "2024-01-01", "[", "{}"])
)  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=25,
)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(sorted(READERS)), st.lists(values, max_size=4), st.integers(0, 3), st.integers(0, 200))
def test_any_json_gives_items_or_unreadable_file(name: str, content: list[Any], shape: int, cut: int) -> None:
    wrapped: list[Any] = [content, {"data": content}, {"tickets": content, "users": content}]
    whole = "\n".join(map(json.dumps, content)) if shape == 3 else json.dumps(wrapped[shape])
    for text in (whole, whole[: max(1, len(whole) - cut)]):
        formats("x.json", text)
        with suppress(UnreadableFile):
            read(READERS[name], {"x.json": text})


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(sorted(READERS)), st.binary(max_size=200) | st.text('{}[]":,id7\\n', max_size=80).map(str.encode)
)
def test_any_bytes_give_items_or_unreadable_file(name: str, data: bytes) -> None:
    formats("x.json", data)
    for content in (data, b"{" + data, b"[" + data, b"id,requester_id,subject,person_id,content,add_time\n" + data):
        with suppress(UnreadableFile):
            read(READERS[name], {"x.json": content})


salesforce_cells = st.sampled_from(
    ["", "1", "003Ec00000CyOT7", "02sEc00000Aa1Wh", "069Ec00000Aa1Wh", "a@x.org", '"', "4111111111111111"]
)
hubspot_cells = st.sampled_from(["", "9", "INCOMING_EMAIL", "a@x.org", "{", '{"from":7}', "501;502", '"'])


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(["EmailMessage", "ContentNote", "ContentDocumentLink", "TaskRelation", "CaseComment", "Account"]),
    st.lists(st.lists(salesforce_cells, max_size=9), max_size=4),
)
def test_any_rows_of_salesforce_give_items_or_unreadable_file(name: str, rows: list[list[str]]) -> None:
    header = "Id,IsDeleted,OwnerId,Incoming,FromAddress,RelationId,TextBody,ContentDocumentId,LinkedEntityId\n"
    body = "\n".join(",".join(row) for row in rows)
    with suppress(UnreadableFile):
        read(salesforce.READER, {f"{name}.csv": header + body, "Contact.csv": header + body})


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(["hs_email_text", "hs_call_body", "hs_meeting_title", "content", "dealname"]),
    st.lists(st.lists(hubspot_cells, max_size=6), max_size=4),
)
def test_any_rows_of_hubspot_give_items_or_unreadable_file(column: str, rows: list[list[str]]) -> None:
    header = f"id,property_{column},property_hs_email_direction,property_hs_email_headers,property_subject,type\n"
    body = "\n".join(",".join(row) for row in rows)
    with suppress(UnreadableFile):
        read(hubspot.READER, {"x.csv": header + body, "pairs.csv": f"contact_id,engagement_id\n{body}"})


# -- memory ------------------------------------------------------------------------------------------------------------


class _Endless(io.RawIOBase):
    """A generated file of about ``size`` bytes that nobody ever holds."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._held = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._held:
            self._held = next(self._pieces, b"\0")
            if self._held == b"\0":
                self._held = b""
                return 0
        size = min(len(buffer), len(self._held))
        buffer[:size], self._held = self._held[:size], self._held[size:]
        return size


def generated(size: int, kind: str) -> Iterator[bytes]:
    comments = [{"id": n, "author_id": 7, "public": True, "body": "I moved to Porto. " * 40} for n in range(4)]
    ticket = {"id": 0, "subject": "x", "requester_id": 7, "requester": {"id": 7, "name": "Anna"}, "comments": comments}
    row = json.dumps(ticket).encode()
    yield b"[" if kind == "list" else b""
    for number in range(size // len(row)):
        comma = b"," if kind == "list" and number else b""
        yield comma + row.replace(b'"id": 0', b'"id": %d' % (number + 1), 1) + b"\n"
    yield b"]" if kind == "list" else b""


@pytest.mark.parametrize("kind", ["list", "lines"])
def test_memory_does_not_grow_with_the_file(kind: str) -> None:
    def peak(size: int) -> int:
        file = SourceFile("crm/t.json", size, 0.0, lambda: io.BufferedReader(_Endless(generated(size, kind))))
        tracemalloc.start()
        found = sum(
            isinstance(item, Record) for item in zendesk.READER.read(export(zendesk.READER, file), ReadOptions())
        )
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert found == size // 3_300 or found > size // 4_000
        return highest

    peak(100_000)
    assert peak(4_000_000) < peak(1_000_000) + 1_000_000


def export(reader: Reader, *files: SourceFile) -> Export:
    return Export(reader.format, Source.CRM, files)


def test_a_file_of_another_system_among_them_is_counted() -> None:
    items = read(zendesk.READER, {"x.json": [{"id": 1, "foo": 2}], "t.json": "\0\0"})
    assert counts(items)["not_used"] == 1
    for item in items:
        check(item)
    assert source("crm/x", b"").size == 0


WORDS_OF_A_LINE = st.lists(
    st.sampled_from(
        ["I", "moved", "to", "Porto.", "Best regards", "Thanks!", "Sent from my iPhone", "--", "-- ", "___", "> x",
         "=====", "| y", "On Monday Bo wrote:", "Von: Bo", "-----Original Message-----", "e-mail", "—", "ok",
         "From: a@x.org", "Get Outlook for iOS", "MfG", "***** unsubscribe", "ok: ",
         "\u2028", "+351 21 555 0123", "a" * 70]
    ),
    min_size=1, max_size=8,
)  # fmt: skip


@given(WORDS_OF_A_LINE, st.sampled_from([" ", "  ", ""]))
def test_a_single_line_is_taken_apart_as_any_other_text(words: list[str], gap: str) -> None:
    """The quick look at it is only quicker."""
    line = gap.join(words)
    whole = split_reply(line)
    own = own_words(line)
    if len(line) <= LONGEST_MARK:
        left_out = whole.quoted or whole.forwarded
        text = whole.text if left_out or whole.signature else line
        assert own == OwnWords(text, whole.signature, left_out)


@given(st.lists(st.text('ab &;<>p/\n\t\u00e9"', max_size=12), max_size=4), st.sampled_from(["", "\n"]))
def test_paragraphs_read_without_a_parser_read_as_with_one(texts: list[str], between: str) -> None:
    html = between.join(f"<p>{text}</p>" for text in texts)
    if "<" in html and all("<" not in text for text in texts):
        assert plain_text(html) == html_to_text(html)


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("Budget <to be confirmed>", "Budget <to be confirmed>"),
        ("Ask <Kim Roe>, <jo@x.example>", "Ask <Kim Roe>, <jo@x.example>"),
        ("a < b\nc > d", "a < b\nc > d"),
        ("one<br>two", "one\ntwo"),
        ('<div class="x">one</div>', "one"),
        ("<o:p></o:p>one", "one"),
        ("one &amp; two", "one & two"),
    ],
)
def test_angle_brackets_are_markup_only_around_elements_of_html(cell: str, text: str) -> None:
    assert plain_text(cell) == text
