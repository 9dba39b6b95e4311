"""Near duplicates: which sentences are one memory. The pairs are in ``duplicate_cases.toml``."""

import tomllib
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_pipeline import duplicates
from ingest_pipeline.duplicates import MIN_COSINE, cluster, read
from ingest_pipeline.edits import claim_key

CASES: dict[str, list[list[str]]] = tomllib.loads(
    (Path(__file__).parent / "duplicate_cases.toml").read_text(encoding="utf-8")
)
SAME = [pair for group in CASES["same"] for pair in combinations(group, 2)]
DIFFERENT = [pair for group in CASES["different"] for pair in combinations(group, 2)]


def groups(*sentences: str, vectors: dict[str, list[float]] | None = None) -> list[set[str]]:
    clusters = cluster(sentences, vectors)
    found: dict[str, set[str]] = {}
    for sentence in sentences:
        found.setdefault(clusters.find(claim_key(sentence)), set()).add(sentence)
    return sorted(found.values(), key=sorted)


@pytest.mark.parametrize(("a", "b"), SAME)
def test_the_same_in_few_other_words_is_one(a: str, b: str) -> None:
    assert groups(a, b) == groups(b, a) == [{a, b}]


@pytest.mark.parametrize(("a", "b"), DIFFERENT)
def test_what_differs_in_what_matters_is_two(a: str, b: str) -> None:
    """Numbers, dates, negations, order, names, or just one word: a fact must not disappear."""
    assert len(groups(a, b)) == len(groups(b, a)) == 2


@pytest.mark.parametrize("threshold", [0.86, 0.88, 0.905])
def test_the_threshold_has_room_on_both_sides(threshold: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every pair is decided rightly with a somewhat lower and a somewhat higher one."""
    monkeypatch.setattr(duplicates, "MIN_SIMILARITY", threshold)
    assert all(len(groups(*pair)) == 1 for pair in SAME)
    assert all(len(groups(*pair)) == 2 for pair in DIFFERENT)


def test_guards_are_an_equivalence_so_that_no_chain_breaks_them() -> None:
    """All sentences of the cases at once: no cluster holds two guards, save by names written without capitals."""
    sentences = sorted({sentence for group in (*CASES["same"], *CASES["different"]) for sentence in group})
    for group in groups(*sentences):
        assert len({read(sentence).guard for sentence in group}) == 1, group


def test_many_sentences_are_compared_as_few_are() -> None:
    """Above some number NumPy compares them: the same clusters."""
    filler = [f"Keeps the spare key of room{n} at the reception desk." for n in range(60)]
    pair = (
        "Keeps the spare key of the shed at the reception desk.",
        "Keeps the key of the shed at the reception desk.",
    )
    together = groups(*filler, *pair)
    assert set(pair) in together
    assert len(together) == 61
    assert groups(*pair) == [set(pair)]


def test_vectors_join_what_words_do_not_but_never_across_a_guard() -> None:
    a, b, c = "Assesses the top tier.", "Is evaluating the top tier.", "Weighs 2 top tiers."
    near = {a: [1.0, 0.0], b: [MIN_COSINE + 0.01, 0.2], c: [1.0, 0.0]}
    far = {a: [1.0, 0.0], b: [0.5, 0.9]}
    assert groups(a, b, c) == [{a}, {b}, {c}]
    assert groups(a, b, c, vectors=near) == [{a, b}, {c}]
    assert groups(a, b, c, vectors=far) == [{a}, {b}, {c}]
    assert groups(a, b, vectors={a: [0.0, 0.0], b: [0.0, 0.0]}) == [{a}, {b}]


words = st.sampled_from(
    [
        "Owns",
        "the",
        "a",
        "big",
        "2",
        "two",
        "dogs",
        "dog",
        "not",
        "now",
        "Porto",
        "Vigo",
        "over",
        "than",
        "to",
        "prefers",
    ]
)
sentences = st.lists(st.lists(words, min_size=1, max_size=7).map(" ".join), min_size=1, max_size=12)


@given(sentences, st.randoms(use_true_random=False))
def test_the_order_of_the_sentences_never_counts(some: list[str], chance: object) -> None:
    shuffled = sorted(some, key=lambda _: chance.random())  # type: ignore[attr-defined]
    assert groups(*some) == groups(*shuffled)


@given(sentences, sentences)
def test_more_sentences_only_join(some: list[str], more: list[str]) -> None:
    after = groups(*some, *more)
    for group in groups(*some):
        assert sum(group <= each for each in after) == 1
