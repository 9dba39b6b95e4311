"""The WhatsApp reader: every form of header, dates never guessed, the app's own texts left out and counted."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_pipeline.documents import Item, Record, Rejected, Role, Skipped
from ingest_pipeline.errors import UnreadableFile
from ingest_pipeline.sources import whatsapp
from ingest_pipeline.sources.base import ReadOptions, staff_key
from ingest_pipeline.sources.whatsapp import READER
from ingest_pipeline.sources.whatsapp_headers import decide_order
from ingest_pipeline.sources.whatsapp_text import own_words, split_name
from tests.chats import (
    OPTIONS,
    is_detected,
    keys,
    needs_real_files,
    read,
    real,
    records,
    rejections,
    skips,
    source,
    texts,
    units,
    zipped,
)

LRM, NNBSP, NBSP = "\u200e", "\u202f", "\u00a0"
DMY = replace(OPTIONS, date_order="dmy")


def chat(*lines: str) -> bytes:
    return "\n".join(lines).encode()


def read_chat(*lines: str, options: ReadOptions = OPTIONS, name: str = "chat/WhatsApp Chat with Ann.txt") -> list[Item]:
    return read(READER, chat(*lines), options, name)


HEADERS = [
    ("[20.06.19, 15:58:47] Ann: Hi", "dmy"),
    (f"{LRM}[20.06.19, 15:58:47] Ann: Hi", "dmy"),
    ("[20/06/2019, 15:58:47] Ann: Hi", "dmy"),
    ("[20/06/2019 15:58:47] Ann: Hi", "dmy"),
    (f"[6/20/19, 3:58:47{NNBSP}PM] Ann: Hi", "mdy"),
    ("[2019-06-20, 3:58:47 p.m.] Ann: Hi", "ymd"),
    ("[2019/6/20 下午3:58:47] Ann: Hi", "ymd"),
    ("[20.6.2019 klo 15.58.47] Ann: Hi", "dmy"),
    ("20.6.2019 klo 15.58.47 - Ann: Hi", "dmy"),
    ("20/06/19, 15:58 - Ann: Hi", "dmy"),
    ("20/06/2019 15:58 - Ann: Hi", "dmy"),
    (f"6/20/19, 3:58{NNBSP}PM - Ann: Hi", "mdy"),
    (f"20/6/2019, 3:58{NBSP}p.{NBSP}m. - Ann: Hi", "dmy"),
    ("20/6/2019, 3:58 μ.μ. - Ann: Hi", "dmy"),
    ("2019/06/20, 15:58 - Ann: Hi", "ymd"),
    ("2019-06-20 15:58 - Ann: Hi", "ymd"),
    ("20-06-2019 15:58 - Ann: Hi", "dmy"),
    ("20.06.2019 15.58 - Ann: Hi", "dmy"),
    ("2019. 06. 20. 15:58 - Ann: Hi", "ymd"),
    ("2019. 6. 20. 오후 3:58 - Ann: Hi", "ymd"),
    ("2019년 6월 20일 오후 3:58 - Ann: Hi", "ymd"),
    ("2019年6月20日 下午3:58 - Ann: Hi", "ymd"),
    ("20.06.19 г., 15:58 ч. - Ann: Hi", "dmy"),
    ("15:58, 20/06/2019 - Ann: Hi", "dmy"),
    ("20/6/2562 15:58 - Ann: Hi", "dmy"),
    ("٢٠/٦/٢٠١٩, ٣:٥٨ م - Ann: Hi", "dmy"),
    (f"20.6.2019, 15:58{NBSP}– Ann: Hi", "dmy"),
]


@pytest.mark.parametrize(("line", "order"), HEADERS)
def test_every_form_of_header(line: str, order: str) -> None:
    """The same moment in all of them, with or without seconds."""
    assert is_detected(READER, source(chat(line)))
    (found,) = records(read_chat(line))
    assert found.occurred_at is not None
    assert found.occurred_at.replace(second=0) == datetime(2019, 6, 20, 15, 58, tzinfo=UTC)
    assert (found.text, found.metadata["date_order"]) == ("Ann: Hi", order)


HALVES = [("12:05 AM", 0), ("12:05 PM", 12), ("1:05 pm", 13), ("11:05 a. m.", 11), ("00:08 a. m.", 0), ("13:05 PM", 13)]


@pytest.mark.parametrize(("time", "hour"), HALVES)
def test_halves_of_the_day(time: str, hour: int) -> None:
    (found,) = records(read_chat(f"1/23/19, {time} - Ann: Hi"))
    assert found.occurred_at is not None
    assert found.occurred_at.hour == hour


ORDERS = [
    (["13/01/20"], "", "dmy", "number_over_12"),
    (["01/13/20"], "dmy", "mdy", "number_over_12"),
    (["01/02/20", "02/01/20", "03/13/20"], "", "mdy", "number_over_12"),
    (["01/02/20", "02/02/20", "03/02/20", "01/03/20"], "", "dmy", "time_goes_forward"),
    (["02/01/20", "02/02/20", "02/03/20", "03/01/20"], "", "mdy", "time_goes_forward"),
    (["05/05/20", "06/06/20"], "", "dmy", "day_equals_month"),
    (["01/02/20", "05/06/20"], "mdy", "mdy", "setting"),
    (["2020/01/02"], "dmy", "ymd", "year_first"),
    (["20/01/02", "20/01/13"], "ymd", "ymd", "setting"),
    (["01/02/20", "05/06/20"], "", None, None),
    (["01/02/20"], "", None, None),
    (["01/02/20", "02/03/20"], "ymd", "ymd", "setting"),
]


@pytest.mark.parametrize(("dates", "setting", "order", "decided_by"), ORDERS)
def test_the_order_of_dates(dates: list[str], setting: str, order: str | None, decided_by: str | None) -> None:
    """A number over 12, then that time goes forward, then the setting; else nobody can tell."""
    parts = [tuple(date.split("/")) for date in dates]
    found = decide_order([(a, b, c) for a, b, c in parts], setting)
    assert (found and found.order, found and found.decided_by) == (order, decided_by)


def test_a_file_that_reads_either_way_is_rejected() -> None:
    """With the setting that would decide it; as one of a zip, alone."""
    ambiguous = chat("01/02/20, 10:00 - Ann: Hi", "05/06/20, 10:00 - Ann: Hi")
    with pytest.raises(UnreadableFile, match=r"day/month and as month/day alike.*date_order: dmy.*_source.yaml"):
        read(READER, ambiguous)
    assert units(read(READER, ambiguous, DMY)) == 2
    found = read(READER, zipped({"a/chat.txt": ambiguous, "b/chat.txt": chat("2020-01-30 10:00 - Bo: Hi")}))
    assert [position for position, _ in rejections(found)] == ["a/chat.txt"]
    assert texts(found) == ["Bo: Hi"]


def test_the_zone_is_the_settings_and_says_so() -> None:
    (found,) = records(read_chat("20.06.19, 01:30 - Ann: Hi", options=replace(OPTIONS, timezone="Europe/Berlin")))
    assert found.occurred_at == datetime(2019, 6, 19, 23, 30, tzinfo=UTC)
    assert (found.metadata["time_zone"], found.metadata["day"]) == ("Europe/Berlin (setting)", "2019-06-20")


NAMES = [
    ("Ann: hello", ("Ann", "hello")),
    ("Ann Lee: a: b", ("Ann Lee", "a: b")),
    ("Ann : Work: hello", ("Ann : Work", "hello")),
    ("John-John Doe: Lorem : dolor", ("John-John Doe", "Lorem : dolor")),
    ("~\u202fAnn: hello", ("~\u202fAnn", "hello")),
    ("Ann:\nhello", ("Ann", "\nhello")),
    ("Ann: ", ("Ann", "")),
    ("You were added", None),
    ("Ann created group “A: b”", None),
    ('Ann changed the subject from "A" to "B: c"', None),
    ("Ann änderte den Betreff zu „A: b“", None),
    ("Ann a changé le sujet en « A : b »", None),
    ("John Doe:.", None),
    ('Ann "Bo" Lee: hello', ('Ann "Bo" Lee', "hello")),
]


@pytest.mark.parametrize(("rest", "expected"), NAMES)
def test_names(rest: str, expected: tuple[str, str] | None) -> None:
    assert split_name(rest) == expected


TEXTS = [
    ("hello\nworld\n", "hello\nworld", ""),
    ("<Media omitted>", "", "media"),
    ("<Medien ausgeschlossen>", "", "media"),
    ("<省略多媒体文件>", "", "media"),
    (f"{LRM}image omitted", "", "system_line"),
    ("image omitted", "", "media"),
    ("<attached: 00000001-PHOTO.jpg>", "", "media"),
    (f"{LRM}<adjunto: 00000001-PHOTO.jpg>", "", "media"),
    (f"Look at this {LRM}<attached: 1.jpg>", "Look at this", ""),
    ("IMG-20190620-WA0001.jpg (file attached)", "", "media"),
    ("IMG-20190620-WA0001.jpg (ファイルが添付されています)\nour house", "our house", ""),
    ("My offer.pdf (Datei angehängt)", "", "media"),
    ("see My offer.pdf (the last page)", "see My offer.pdf (the last page)", ""),
    ("This message was deleted", "", "deleted"),
    ("Diese Nachricht wurde gelöscht.", "", "deleted"),
    ("此消息已被删除", "", "deleted"),
    ("I live in Porto <This message was edited>", "I live in Porto", ""),
    (f"I live in Porto {LRM}<Ez az üzenet szerkesztve>", "I live in Porto", ""),
    (f"{LRM}Missed voice call", "", "system_line"),
    (f"{LRM}POLL:\nWhen?\n{LRM}OPTION: Monday ({LRM}1 vote)", "When?\nOPTION: Monday (1 vote)", ""),
    ("null", "", "media"),
    ("  ", "", "empty"),
    ("I <3 you", "I <3 you", ""),
]


@pytest.mark.parametrize(("written", "text", "reason"), TEXTS)
def test_what_the_app_wrote_is_left_out(written: str, text: str, reason: str) -> None:
    assert own_words(written) == (text, reason)


def test_people() -> None:
    """A number is a phone; a name holds in this chat; somebody unsaved is not the contact of that name."""
    found = read_chat(
        "13.01.20, 10:00 - \u202a+49 151 23456789\u202c: a", "13.01.20, 10:00 - Ann: b", "13.01.20, 10:00 - ~ Ann: c",
        "13.01.20, 10:00 - +12 345 578: d",
    )  # fmt: skip
    assert keys(found) == [
        "phone:+4915123456789",
        "whatsapp:chat/WhatsApp Chat with Ann/Ann",
        "whatsapp:chat/WhatsApp Chat with Ann/~ Ann",
        "whatsapp:chat/WhatsApp Chat with Ann/+12 345 578",
    ]
    people = [record.subjects[0] for record in records(found)]
    assert [person.name for person in people] == [None, "Ann", "Ann", "+12 345 578"]
    assert {person.namespace for person in people} == {"whatsapp", "whatsapp:chat/WhatsApp Chat with Ann"}


def test_with_and_without_media_it_is_the_same_chat() -> None:
    lines = chat("13.01.20, 10:00 - Ann: Hi")
    members = {"_chat.txt": lines, "photo.jpg": b"x", "__MACOSX/._chat.txt": b"\0", "notes.txt": b"no chat"}
    inside = zipped(members)
    assert is_detected(READER, source(inside))
    with_media = read(READER, inside, name="chat/Ann.zip")
    assert keys(with_media) == keys(read(READER, lines, name="chat/Ann.txt"))
    assert [r.native_id for r in records(with_media)] == [
        r.native_id for r in records(read(READER, lines, name="chat/Ann.txt"))
    ]


def test_staff_are_context() -> None:
    options = replace(OPTIONS, staff=frozenset({"sam"}))
    found = read_chat("13.01.20, 10:00 - Sam: How are you?", "13.01.20, 10:01 - Ann: Fine", options=options)
    assert [[s.role for s in record.segments] for record in records(found)] == [[Role.STAFF, Role.SUBJECT]]
    assert skips(found) == {"internal_sender": 1}


@pytest.mark.parametrize(
    "me", ["You", "Me", "Du", "Ich", "Usted", "Vous", "Você", "Voce\u0302", "Вы", "Εσείς", "أنت", "אתה", "你", "나"]
)
def test_who_exported_the_chat_is_no_person(me: str) -> None:
    """ "You" in the app's language: context, unless the settings name it as staff; in a name it is a name."""
    lines = [f"13.01.20, 10:00 - {me}: How are you?", "13.01.20, 10:01 - Ann: Fine"]
    found = read_chat(*lines)
    assert [[s.role for s in record.segments] for record in records(found)] == [[Role.OTHER, Role.SUBJECT]]
    assert [record.subjects[0].name for record in records(found)] == ["Ann"]
    assert skips(found) == {"exporter": 1}
    staff = read_chat(*lines, options=replace(OPTIONS, staff=frozenset({staff_key(me)})))
    assert [[s.role for s in record.segments] for record in records(staff)] == [[Role.STAFF, Role.SUBJECT]]
    assert skips(staff) == {"internal_sender": 1}


@pytest.mark.parametrize("name", ["~ You", "You Lee", "Ben", "Vy", "Tú", "Saya", "du", "Me Too Ltd"])
def test_a_name_that_only_looks_like_a_pronoun_is_a_person(name: str) -> None:
    found = read_chat(f"13.01.20, 10:00 - {name}: Hi")
    assert [record.subjects[0].name for record in records(found)] == [name.lstrip("~ ")]


def test_bad_lines_cost_only_themselves() -> None:
    """They are named by their number."""
    found = read_chat(
        "13.01.20, 10:00 - Ann: one", "31.02.20, 10:00 - Ann: two", "13.01.20, 25:00 - Ann: three",
        "13.01.1402, 10:00 - Ann: four", "13.01.20, 10:00 qq - Ann: five", "13.01.20, 10:01 - Ann: six",
    )  # fmt: skip
    assert texts(found) == ["Ann: one\nAnn: six"]
    assert [position for position, _ in rejections(found)] == ["line 2", "line 3", "line 4", "line 5"]


def test_a_date_in_the_future_keeps_the_message() -> None:
    (found,) = records(read_chat("13.01.2998, 10:00 - Ann: hi"))
    assert (found.occurred_at, found.metadata["day"]) == (None, "undated")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_encodings(encoding: str) -> None:
    """Also of files that an editor saved anew, with its line ends."""
    data = "13.01.20, 10:00 - Änn: Grüße\r\naus Köln\r\n".encode(encoding)
    assert is_detected(READER, source(data))
    assert texts(read(READER, data)) == ["Änn: Grüße\naus Köln"]


@pytest.mark.parametrize("data", [b"", b"hello\n", b"2024-01-01 10:00:00 INFO started\n", b"a,b\n1,2\n", b"PK\x03\x04"])
def test_other_files(data: bytes) -> None:
    assert not is_detected(READER, source(data))
    with pytest.raises(UnreadableFile):
        read(READER, data)


def test_messages_that_chunks_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Are read whole, except one that is no message any more."""
    lines = [f"13.01.20, 10:{n:02} - Ann: {'word ' * n}\nend" for n in range(60)]
    whole = texts(read_chat(*lines))
    monkeypatch.setattr(whatsapp, "CHUNK_CHARS", 50)
    assert texts(read_chat(*lines)) == whole
    monkeypatch.setattr(whatsapp, "MAX_MESSAGE_CHARS", 200)
    found = read_chat("13.01.20, 10:00 - Ann: " + "x" * 500, "13.01.20, 10:01 - Ann: hi")
    assert texts(found) == ["Ann: hi"]
    assert rejections(found)


def test_no_message_is_taken_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many of one minute, in a chat so long that old minutes are forgotten."""
    monkeypatch.setattr(whatsapp, "_MAX_TIMES", 4)
    lines = [f"13.01.20, 10:{n // 3:02} - Ann: {n}" for n in range(150)]
    found = read_chat(*lines)
    assert (units(found), skips(found)) == (150, {})


WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(st.lists(st.tuples(st.sampled_from(["Ann", "~ Bo", "+49 151 23456789", ""]), WORDS), max_size=15))
def test_every_header_is_accounted_for(messages: list[tuple[str, str]]) -> None:
    """Records, skips and rejections add up to the headers that there are."""
    lines = ["13.01.20, 10:00 - Ann: start"]
    lines += [f"13.01.20, 10:{n:02} - {name}{': ' if name else ''}{text}" for n, (name, text) in enumerate(messages)]
    found = read_chat(*lines)
    assert sum(1 if isinstance(item, Rejected) else item.units for item in found) >= len(lines)
    for record in records(found):
        assert all(record.text[s.start : s.end].strip() for s in record.segments)


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    for item in read(READER, b"13.01.20, 10:00 - Ann: " + data):
        assert isinstance(item, Record | Rejected | Skipped)


ANDROID = "whatsapp/joweich__chat-miner/test/whatsapp/*.txt"


@needs_real_files
def test_real_android_chats() -> None:
    """Nine headers each, six of them messages, in five forms of the same dates."""
    moments = []
    for path in real(ANDROID):
        data = path.read_bytes()
        assert is_detected(READER, source(data))
        found = read(READER, data, name=f"chat/{path.name}")
        assert (units(found), skips(found), rejections(found)) == (6, {"system_line": 3}, [])
        moments.append([record.occurred_at for record in records(found)])
        assert found[0].text == "John Doe: Lorem ipsum dolor sit amet."  # type: ignore[union-attr]
    assert len(moments) == 5
    assert {tuple(each) for each in moments} == {tuple(moments[0])}
    assert (moments[0][0], moments[0][-1]) == (
        datetime(2019, 1, 1, 11, 25, tzinfo=UTC), datetime(2021, 12, 30, 22, 1, tzinfo=UTC),
    )  # fmt: skip


@needs_real_files
def test_real_iphone_zip() -> None:
    """62 lines, 52 headers, three people."""
    (path,) = real("whatsapp/Pustur__*/src/assets/*.zip")
    data = Path(path).read_bytes()
    assert is_detected(READER, source(data))
    found = read(READER, data, name="chat/example.zip")
    assert (units(found), skips(found), rejections(found)) == (44, {"media": 4, "system_line": 4}, [])
    assert {record.subjects[0].name for record in records(found)} == {"Loris", "John", "Emily"}
    first = min(s.occurred_at for r in records(found) for s in r.segments if s.occurred_at)
    assert first == datetime(2019, 6, 20, 15, 58, 53, tzinfo=UTC)
