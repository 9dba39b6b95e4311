"""CSV tables are read record by record; what is damaged is reported by its lines and costs nothing else."""

import codecs
import csv
import io
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_pipeline.errors import UnreadableFile
from ingest_pipeline.sources.base import HEAD_BYTES, ReadOptions
from ingest_pipeline.sources.table_encodings import encoding_of
from ingest_pipeline.sources.tabular import BadRow, Row, first_cells, header_of, index_of, open_table

OPTIONS = ReadOptions()


def read(data: bytes | str, options: ReadOptions = OPTIONS) -> list[Row | BadRow]:
    raw = data.encode() if isinstance(data, str) else data
    with open_table(lambda: io.BytesIO(raw), options) as table:
        return list(table.rows())


def cells(data: bytes | str) -> list[list[str]]:
    return [row.cells for row in read(data) if isinstance(row, Row)]


def bad(data: bytes | str, options: ReadOptions = OPTIONS) -> list[tuple[str, str]]:
    return [(row.position, row.reason) for row in read(data, options) if isinstance(row, BadRow)]


def test_a_row_knows_its_ordinal_and_the_line_it_opens_on() -> None:
    rows = read('Id,Text\r\n1,"one\r\ntwo\r\nthree"\r\n\r\n2,b\r\n')
    assert [(row.ordinal, row.line, row.position) for row in rows] == [
        (1, 2, "row 1 (line 2)"),
        (2, 6, "row 2 (line 6)"),
    ]
    assert [row.cells for row in rows if isinstance(row, Row)] == [["1", "one\r\ntwo\r\nthree"], ["2", "b"]]


ENCODINGS = [
    ("utf-8", "Id,Name\n1,Zoë 李\n".encode()),
    ("utf-8 with mark", codecs.BOM_UTF8 + "Id,Name\n1,Zoë 李\n".encode()),
    ("utf-16 with mark", "Id,Name\n1,Zoë 李\n".encode("utf-16")),
    ("utf-16 big-endian with mark", codecs.BOM_UTF16_BE + "Id,Name\n1,Zoë 李\n".encode("utf-16-be")),
    ("utf-16 without mark", "Id,Name\n1,Zoë 李\n".encode("utf-16-le")),
    ("utf-16 big-endian without mark", "Id,Name\n1,Zoë 李\n".encode("utf-16-be")),
    ("utf-32 with mark", "Id,Name\n1,Zoë 李\n".encode("utf-32")),
]


@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in ENCODINGS])
def test_the_encoding_is_found_from_the_bytes(data: bytes) -> None:
    assert header_of(data) == ("Id", "Name")
    assert cells(data) == [["1", "Zoë 李"]]


def test_a_table_in_cp1252_says_so() -> None:
    data = "Id,Name\n1,Zoë “quoted”\n".encode("cp1252")
    assert encoding_of(data).name == "cp1252"
    assert cells(data) == [["1", "Zoë “quoted”"]]


@pytest.mark.parametrize(
    ("charset", "text"),
    [("big5", "王小明"), ("cp932", "山田太郎"), ("gb18030", "王小明"), ("cp949", "김민수"), ("cp1251", "Анна Иванова")],
)
def test_another_scripts_charset_is_recognised(charset: str, text: str) -> None:
    data = ("Id,Name\n" + f"1,{text}\n" * 20).encode(charset)
    assert cells(data)[0] == ["1", text]


@pytest.mark.parametrize("text", ["José", "Très intéressé", "Müller & Söhne", "“quoted”", "Crème brûlée spéciale"])
def test_single_accented_letters_are_cp1252(text: str) -> None:
    data = ("Id,Name\n" + "1,plain\n" * 50 + f"2,{text}\n").encode("cp1252")
    assert cells(data)[-1] == ["2", text]


def test_a_stray_byte_at_the_start_of_a_utf8_table_leaves_the_rest_alone() -> None:
    data = b"Id,Name\n1,Jos\xe9\n" + "2,Zoë 李 Łódź\n".encode() * 3
    assert cells(data) == [["1", "José"], *[["2", "Zoë 李 Łódź"]] * 3]


def test_a_stray_byte_late_in_a_utf8_table_is_mended_and_noted_on_its_row_only() -> None:
    data = b"Id,Name\n" + b"1,Zo\xc3\xab\n" * HEAD_BYTES + b"2,Zo\xeb \xe2\x82\xac\n3,x\n"
    rows = [row for row in read(data) if isinstance(row, Row)]
    assert rows[-2].cells == ["2", "Zoë €"]
    assert [row.repairs for row in rows[-3:]] == [(), ("charset_cp1252",), ()]


def test_nul_bytes_are_removed_and_noted() -> None:
    rows = [row for row in read(b"Id,Name\n1,a\0b\n2,c\n") if isinstance(row, Row)]
    assert [(row.cells[1], row.repairs) for row in rows] == [("ab", ("nul_removed",)), ("c", ())]


UNREADABLE = [
    ("utf-32 without mark", "Id,Name\n1,x\n".encode("utf-32-le"), "UTF-32 without a byte order mark"),
    ("utf-32 with a wrong mark", codecs.BOM_UTF32_LE + b"Id,Name\n1,xyz\n", "not UTF-32"),
    ("empty", b"", "no header"),
    ("blank lines", b"\n\n\n", "no header"),
    ("open quote in the header", b'"Id,Name\n1,2\n', "header is not CSV"),
]


@pytest.mark.parametrize(("data", "reason"), [pytest.param(d, r, id=i) for i, d, r in UNREADABLE])
def test_a_table_without_a_readable_header_is_unreadable(data: bytes, reason: str) -> None:
    with pytest.raises(UnreadableFile, match=reason):
        read(data)


DAMAGED = [
    (
        "never closed, to the end of the file",
        'Id,A\n1,x\n2,"open\n3,y\n4,z\n',
        [["1", "x"], ["3", "y"], ["4", "z"]],
        [("row 2 (lines 3-5)", "a quote opened here is never closed")],
    ),
    (
        "never closed, in a table with every cell quoted",
        '"Id","A"\n"1","open\n"2","y"\n"3","z"\n',
        [["2", "y"], ["3", "z"]],
        [("row 1 (lines 2-3)", "a quote is not closed or not doubled")],
    ),
    (
        "not doubled in the last of several lines",
        'Id,A\n1,"one\ntwo\nsay "hi" now"\n2,y\n',
        [["2", "y"]],
        [("row 1 (lines 2-4)", "a quote is not closed or not doubled")],
    ),
    (
        "not doubled in the first of several lines",
        'Id,A\n1,"say "hi" now\ntwo\n\nthree, four, five\nsix"\n2,y\n',
        [["2", "y"]],
        [("row 1 (lines 2-6)", "a quote is not closed or not doubled")],
    ),
    (
        "too few cells",
        "Id,A,B\n1,x\n2,y,z\n",
        [["2", "y", "z"]],
        [("row 1 (line 2)", "has 2 cells where the header has 3")],
    ),
    ("too many cells", "Id,A\n1,x,y\n2,y\n", [["2", "y"]], [("row 1 (line 2)", "has 3 cells where the header has 2")]),
]


@pytest.mark.parametrize(("data", "whole", "damaged"), [pytest.param(d, w, b, id=i) for i, d, w, b in DAMAGED])
def test_a_damaged_record_is_reported_by_its_lines_and_the_rest_is_read(
    data: str, whole: list[list[str]], damaged: list[tuple[str, str]]
) -> None:
    assert cells(data) == whole
    assert bad(data) == damaged


def test_lines_are_still_counted_after_a_damaged_record() -> None:
    assert [row.line for row in read('Id,A\n1,"open\n2,x\n3,"a\nb"\n4,y\n') if isinstance(row, Row)] == [3, 4, 6]


def test_a_cell_over_the_limit_is_rejected_and_one_at_the_limit_is_not() -> None:
    small = replace(OPTIONS, max_cell_chars=10)
    data = f"Id,A\n1,{'x' * 10}\n2,{'x' * 11}\n3,y\n"
    assert bad(data, small) == [("row 2 (line 3)", "a cell is longer than 10 characters")]


def test_a_cell_over_pythons_own_limit_is_read() -> None:
    assert cells(f"Id,A\n1,{'x' * 200_000}\n")[0][1] == "x" * 200_000


def test_a_runaway_record_stops_at_the_limit_and_reading_goes_on() -> None:
    small = replace(OPTIONS, max_cell_chars=10)
    one_line = f'Id,A\n1,"{"x" * 500}\n2,y\n'
    lines = 'Id,A\n1,"open\n2,y\n' + "3,z\n" * 40
    for data in (one_line, lines):
        found = bad(data, small)
        assert [position.split(" (")[0] for position, _ in found] == ["row 1"]
        assert found[0][1].startswith("longer than 40 characters")
    assert [row.line for row in read(one_line, small) if isinstance(row, Row)] == [3]
    assert len([row for row in read(lines, small) if isinstance(row, Row)]) == 41


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_the_commonest_of_the_header(delimiter: str) -> None:
    assert cells(delimiter.join(["Id", '"a,b;c"']) + "\n" + delimiter.join(["1", "x"])) == [["1", "x"]]


def test_header_names_are_found_without_case_and_the_first_of_two_counts() -> None:
    assert index_of(("Id", "EMAIL", "email")) == {"id": 0, "email": 1}


def test_a_head_cut_inside_a_record_still_gives_the_header() -> None:
    assert first_cells(b'Id,A\n1,"cut he') == (("Id", "A"), [])
    assert first_cells(b"Id,A\n1,2\n") == (("Id", "A"), ["1", "2"])


def test_memory_does_not_grow_with_the_table() -> None:
    class Generated(io.RawIOBase):
        def __init__(self, rows: int) -> None:
            self.chunks = self._chunks(rows)

        def _chunks(self, rows: int) -> Iterator[bytes]:
            yield b"Id,A\n"
            for number in range(rows // 100):
                yield b'%d,"text\nin two lines"\n' % number * 100

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
            data = next(self.chunks, b"")
            buffer[: len(data)] = data
            return len(data)

    def peak(rows: int) -> int:
        tracemalloc.start()
        with open_table(lambda: io.BufferedReader(Generated(rows)), OPTIONS) as table:
            assert sum(1 for _ in table.rows()) == rows
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    assert peak(40_000) < peak(20_000) + 100_000


texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)


@given(st.lists(st.lists(texts, min_size=2, max_size=2), max_size=8), st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
def test_what_the_csv_module_writes_is_read_back(rows: list[list[str]], encoding: str) -> None:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, quoting=csv.QUOTE_ALL)
    writer.writerow(["Id", "Text"])
    writer.writerows(rows)
    assert cells(buffer.getvalue().encode(encoding)) == rows


@given(st.binary(max_size=300) | st.text('ab,"\n\r', max_size=60).map(str.encode))
def test_any_bytes_give_rows_or_unreadable_file(data: bytes) -> None:
    header_of(data)
    try:
        found = read(b"Id,A\n" + data)
        found += read(data)
    except UnreadableFile:
        return
    assert all(row.ordinal > 0 and row.line > 0 for row in found)


@given(st.integers(0, 200), st.sampled_from(['"', '""', ',"', '",']))
def test_a_stray_quote_costs_the_records_it_stands_between_at_most(place: int, quote: str) -> None:
    records = [["1", "plain"], ["2", "several\nlines, and\n\nmore"], ["3", "x"], ["4", "also\ntwo"], ["5", "y"]]
    body = "".join(f'{number},"{text}"\n' for number, text in records)
    place %= len(body)
    found = cells("Id,A\n" + body[:place] + quote + body[place:])
    assert sum(record in found for record in records) >= len(records) - 2


@given(st.text('ab,"\n', max_size=80))
def test_every_line_is_in_a_row_or_reported(body: str) -> None:
    lines = ("Id,A\n" + body).splitlines()
    reported: set[int] = set()
    found = read("Id,A\n" + body)
    for row in found:
        last = row.last_line if isinstance(row, BadRow) else row.line + sum(cell.count("\n") for cell in row.cells)
        reported.update(range(row.line, last + 1))
    missed = [number for number, line in enumerate(lines[1:], start=2) if line and number not in reported]
    assert missed == []
