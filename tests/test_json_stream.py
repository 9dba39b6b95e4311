"""The JSON cursor: what ``json.loads`` reads, one element at a time; a bad element costs only itself."""

import io
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import Struct

from ingest_pipeline.sources import json_stream
from ingest_pipeline.sources.json_stream import Broken, JsonCursor, NotJson, parse_json, parse_list

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=10,
)
MESSAGES = st.lists(st.fixed_dictionaries({"id": st.integers(), "to": st.text(max_size=9), "more": JSON}), max_size=30)


class Message(Struct):
    id: int
    to: str = ""


def cursor(value: Any, **layout: Any) -> JsonCursor:
    data = value if isinstance(value, bytes) else json.dumps(value, **layout).encode()
    return JsonCursor(io.BytesIO(data))


def elements(value: Any, kind: type[Any] = dict) -> tuple[list[Any], str | None]:
    found = cursor(value)
    return list(found.elements(kind)), found.problem


@given(MESSAGES, st.sampled_from([None, 1, 4]), st.integers(1, 40), st.booleans())
def test_elements_are_what_json_reads(messages: list[Any], indent: int | None, chunk: int, ascii_only: bool) -> None:
    """However the text is laid out and cut into chunks."""
    data = json.dumps(messages, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "CHUNK_BYTES", chunk)
        assert elements(data) == (messages, None)


@given(JSON, st.integers(1, 20))
@example(1e16, 3)
@example(-1.5e-7, 5)
def test_one_value(value: Any, chunk: int) -> None:
    data = json.dumps(value).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "CHUNK_BYTES", chunk)
        assert cursor(data).value() == value
        passed = cursor([value, 1])
        assert [passed.skip() if number == 1 else passed.value() for number in passed.entries()] == [None, 1]
        assert passed.problem is None


def test_members_that_nobody_takes_are_passed_over() -> None:
    found = cursor({"a": [1, {"b": ']}\\"'}], "list": [1, 2], "c": 3})
    assert [list(found.elements(int)) if key == "list" else key for key in found.members()] == ["a", [1, 2], "c"]
    assert found.problem is None


def test_large_runs_are_decoded_together() -> None:
    """Also where objects of the same keys are nested in the elements."""
    messages = [{"id": n, "to": "x", "parts": [{"id": 1, "to": "y"}, {"id": 2, "to": "z"}]} for n in range(9_000)]
    found, problem = elements(messages, Message)
    assert [message.id for message in found] == list(range(9_000))
    assert problem is None


BAD = [
    (b'[{"id": 1}, {"id": tru}, {"id": 3}]', [1, "not valid JSON", 3]),
    (b'[{"id": 1}, {"id": "x"}, {"id": 3}]', [1, "Expected `int`, got `str` - at `$.id`", 3]),
    (b'[{"id": 1}, ' + b"[" * 100_000 + b"]" * 100_000 + b', {"id": 3}]', [1, "JSON nested too deeply", 3]),
    (b'[{"id": 1, "x": NaN}, {"id": 3, "to": "\\ud800"}]', [1, 3]),
    (b'[{"id": 1, "to": "a\x00\nb"}]', [1]),
    (b'[{"id": 1, "id": 2}]', [2]),
    (b'[{"id": 1},, {"id": 3},]', [1, 3]),
    (b'\xef\xbb\xbf[{"id": 1}]', [1]),
    ('[{"id": 1, "to": "é"}]'.encode("utf-16"), [1]),
    (b'[{"id": 1, "to": "\xff"}]', [1]),
    (b'[{"id": ' + b"9" * 5_000 + b"}]", ["not valid JSON"]),
]


@pytest.mark.parametrize(("data", "expected"), BAD)
def test_a_bad_element_costs_only_itself(data: bytes, expected: list[Any]) -> None:
    found, problem = elements(data, Message)
    assert [each.reason if isinstance(each, Broken) else each.id for each in found] == expected
    assert problem is None


CUT = [
    b'[{"id": 1}, {"id": 2',
    b'[{"id": 1}, {"id": 2}',
    b'[{"id": 1}, ',
    b'[{"id": 1}, {"to": "x',
    b'[{"id": 1}, "x\\',
]


@pytest.mark.parametrize("data", CUT)
def test_a_text_that_is_cut_off_is_read_as_far_as_it_goes(data: bytes) -> None:
    found, problem = elements(data, Message)
    assert found[0] == Message(1)
    assert problem == "the file is cut off"


def test_a_text_that_cannot_be_followed_ends_there() -> None:
    found = cursor(b'{"a": 1 "b": 2}')
    assert list(found.members()) == ["a"]
    assert found.problem == "not valid JSON from character 11 on"


def test_an_element_of_any_size_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is never held as a whole."""
    monkeypatch.setattr(json_stream, "MAX_VALUE_CHARS", 1_000_000)
    data = b'[{"id": 1}, {"id": 2, "to": "' + b"x" * 3_000_000 + b'"}, {"id": 3}]'
    found, problem = elements(data, Message)
    assert [each.reason if isinstance(each, Broken) else each.id for each in found] == [
        1, "larger than 1000000 characters", 3,
    ]  # fmt: skip
    assert problem is None


def test_spare_fields_are_left_out_when_they_are_not_as_expected() -> None:
    class Spare(Struct):
        SPARE = ("more",)
        id: int
        more: int = 0

    assert parse_list(b'[{"id": 1, "more": "x"}, {"id": "x", "more": "x"}]', Spare) == [
        Spare(1), Broken("Expected `int`, got `str` - at `$.id`"),
    ]  # fmt: skip


@pytest.mark.parametrize("data", [b"", b"{", b"[1", b"\xff", b"[" * 100_000, b"1" * 5_000, b"nul", b"[1] 2"])
def test_what_is_not_json(data: bytes) -> None:
    with pytest.raises(NotJson):
        parse_json(data)
    with pytest.raises(NotJson):
        parse_list(data, dict)


@given(st.binary(max_size=200), st.integers(1, 9))
def test_any_bytes(data: bytes, chunk: int) -> None:
    """Everything ends, and says why."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "CHUNK_BYTES", chunk)
        for start in (b"", b"[{", b'{"a": ['):
            for each in cursor(start + data).elements(Message):
                assert isinstance(each, Message | Broken)
            found = cursor(start + data)
            for _ in found.members():
                for _ in found.entries():
                    found.skip()
            assert found.problem is None or found.problem
