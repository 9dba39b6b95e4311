"""Cutting long text: everything covered, offsets kept, boundaries natural."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_pipeline.chunking import Span, chunk, halves

texts = st.text(alphabet=st.sampled_from("ab. \n!é字😀"), max_size=400)


@given(texts, st.integers(2, 80), st.data())
def test_every_code_point_is_covered_in_order(text: str, size: int, data: st.DataObject) -> None:
    """No span is too long, none is skipped, each begins before the one before it ends, and all go forward."""
    overlap = data.draw(st.integers(0, size // 2))
    breaks = sorted(data.draw(st.sets(st.integers(0, max(len(text), 1)), max_size=10)))
    spans = chunk(text, size, overlap, breaks)
    assert spans[0].start == 0
    assert spans[-1].end == len(text)
    assert all(len(span) <= size for span in spans)
    for before, after in pairwise(spans):
        assert before.start < after.start <= before.end < after.end
        assert before.end - after.start <= overlap


@given(texts, st.data())
def test_halves_are_smaller_and_cover_the_span(text: str, data: st.DataObject) -> None:
    """A span of two code points or more becomes two or more shorter ones, so that splitting comes to an end."""
    start = data.draw(st.integers(0, len(text)))
    span = Span(start, data.draw(st.integers(start, len(text))))
    parts = halves(text, span, 100)
    assert (parts[0].start, parts[-1].end) == (span.start, span.end)
    if len(span) >= 2:
        assert len(parts) >= 2
        assert all(len(part) < len(span) for part in parts)
    assert all(after.start <= before.end for before, after in pairwise(parts))


@pytest.mark.parametrize(
    ("text", "size", "breaks", "pieces"),
    [
        ("short", 10, (), ["short"]),
        ("", 10, (), [""]),
        ("One para here.\n\nAnother one is here.", 20, (), ["One para here.\n\n", "Another one is here."]),
        ("line one is\nline two is\nline three", 25, (), ["line one is\nline two is\n", "line three"]),
        ("It is so. It was so. It will be so.", 22, (), ["It is so. It was so. ", "It will be so."]),
        ("many words without any stop here", 20, (), ["many words without ", "any stop here"]),
        ("字" * 25, 10, (), ["字" * 10, "字" * 10, "字" * 5]),
        ("他说好。她说不好。他们都走了", 10, (), ["他说好。她说不好。", "他们都走了"]),
        ("aaaa\nbbbb\ncccc\ndddd", 12, (9,), ["aaaa\nbbbb", "\ncccc\ndddd"]),
    ],
)
def test_cuts_stand_where_a_reader_would_make_them(
    text: str, size: int, breaks: tuple[int, ...], pieces: list[str]
) -> None:
    """Turns before paragraphs, before lines, before sentences, before words, before anywhere."""
    assert [text[span.start : span.end] for span in chunk(text, size, 0, breaks)] == pieces


def test_a_sentence_that_was_cut_is_whole_in_the_next_span() -> None:
    """The overlap begins at a sentence."""
    text = "The first sentence is long enough. The second one follows it. The third one ends the text here."
    first, second, *_ = chunk(text, 70, 34)
    assert text[first.start : first.end].endswith("follows it. ")
    assert text[second.start : second.end].startswith("The second one")


def test_a_span_of_a_text_is_cut_in_its_own_offsets() -> None:
    text = "x" * 100 + "one two three four five six"
    parts = halves(text, Span(100, 127), 0)
    assert "".join(text[part.start : part.end] for part in parts) == "one two three four five six"


def test_an_overlap_of_more_than_half_is_refused() -> None:
    with pytest.raises(ValueError, match="half"):
        chunk("abc", 10, 6)
