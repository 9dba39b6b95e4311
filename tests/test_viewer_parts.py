"""What the pages are made of: marked text, the chart, links to records, a retry as a process of its own."""

import sys
import threading
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_pipeline.api.pages.background import Retry, RetryState
from ingest_pipeline.api.pages.chart import HEIGHT, LEFT, RIGHT, TOP, WIDTH, draw, money
from ingest_pipeline.api.pages.latest import Latest
from ingest_pipeline.api.pages.paging import Paging
from ingest_pipeline.api.pages.passages import mark, quote_in, speaker_at, turns
from ingest_pipeline.api.pages.rendering import count, day, static_file, value_text
from ingest_pipeline.documents import Role, Segment
from ingest_pipeline.errors import ConfigurationError, StoreUnavailable
from ingest_pipeline.settings import load_settings

TEXTS = st.text(st.characters(exclude_categories=()) | st.sampled_from("👩‍👩‍👧🇵🇹é́ا\n. "), max_size=80)


@st.composite
def marked(draw: st.DrawFn) -> tuple[str, list[tuple[int, int]]]:
    text = draw(TEXTS)
    places = st.integers(0, len(text))
    return text, [(min(a, b), max(a, b)) for a, b in draw(st.lists(st.tuples(places, places), max_size=6))]


@given(marked())
def test_the_pieces_are_the_text_and_the_marked_ones_are_the_spans(case: tuple[str, list[tuple[int, int]]]) -> None:
    """Whatever characters it has, however spans overlap."""
    text, spans = case
    runs = list(mark(text, spans))
    assert "".join(run.text for run in runs) == text
    for index, (start, end) in enumerate(spans):
        assert "".join(run.text for run in runs if index in run.marks) == text[start:end]


@given(marked(), st.integers(0, 30))
def test_a_passage_has_the_whole_quote_and_says_what_it_leaves_out(
    case: tuple[str, list[tuple[int, int]]], around: int
) -> None:
    text, spans = case
    for start, end in spans:
        passage = quote_in(text, (start, end), around)
        shown = "".join(run.text for run in passage.runs)
        assert "".join(run.text for run in passage.runs if run.marks) == text[start:end]
        assert shown in text
        if start < end:
            before = shown.index(text[start:end]) if shown.count(text[start:end]) == 1 else None
            assert before is None or before <= around
        assert passage.cut_before or text.startswith(shown)
        assert passage.cut_after or text.endswith(shown)


def test_a_passage_is_cut_between_lines_sentences_or_words() -> None:
    text = f"{'first line ' * 9}\nNext. I live in Rome. {'And so on ' * 9}"
    start = text.index("I live")
    passage = quote_in(text, (start, start + 15), around=30)
    assert [run.text for run in passage.runs] == ["Next. ", "I live in Rome.", " And so on And so on And so"]
    assert (passage.cut_before, passage.cut_after) == (True, True)


def test_turns_are_speaker_by_speaker_and_leave_no_word_out() -> None:
    """But a speaker's name, which is shown by itself."""
    text = "Kim: Hi!\n(later)\nAna: I live in Rome.\n-- \nlist footer"
    start = text.index("I live")
    segments = [Segment(start, start + 15, Role.SUBJECT, "Ana"), Segment(5, 8, Role.STAFF, "Kim")]
    shown = [
        (turn.segment and turn.segment.speaker, "".join(run.text for run in turn.runs))
        for turn in turns(text, segments, [(start, start + 14)])
    ]
    assert shown == [
        ("Kim", "Hi!"), (None, "\n(later)\nAna: "), ("Ana", "I live in Rome."), (None, "\n-- \nlist footer"),
    ]  # fmt: skip
    assert speaker_at(segments, (start, start + 14)) == segments[0]
    assert speaker_at(segments, (5, 20)) is None


@given(st.lists(st.floats(0, 1e6, allow_nan=False), min_size=1, max_size=60))
def test_bars_stay_within_the_chart_and_are_as_high_as_what_was_spent(dollars: list[float]) -> None:
    chart = draw({date(2026, 1, 1) + timedelta(n): spent for n, spent in enumerate(dollars)})
    assert [bar.spent for bar in chart.bars] == dollars
    top = chart.ticks[-1].dollars
    for bar in chart.bars:
        assert bar.x >= LEFT
        assert bar.x + bar.width <= WIDTH - RIGHT + 0.01
        assert bar.y >= TOP - 0.01
        assert bar.height == pytest.approx((HEIGHT - 26 - TOP) * bar.spent / top, abs=0.01)


@pytest.mark.parametrize(
    ("spent", "top"), [(0, 1), (0.0035, 0.004), (1, 1), (1.01, 1.5), (3, 3), (5, 5), (7, 8), (9, 10), (1234, 1500)]
)
def test_the_scale_ends_on_a_round_number(spent: float, top: float) -> None:
    assert draw({date(2026, 1, 1): spent}).ticks[-1].dollars == pytest.approx(top)


@pytest.mark.parametrize(
    ("dollars", "text"),
    [(0, "$0.00"), (1234.5, "$1,234.50"), (0.01, "$0.01"), (0.00123, "$0.00123"), (0.002, "$0.002")],
)
def test_small_sums_have_more_digits(dollars: float, text: str) -> None:
    assert money(dollars) == text


@pytest.mark.parametrize(
    ("number", "total", "shown"),
    [(1, 0, (0, 0)), (1, 5, (1, 5)), (1, 25, (1, 10)), (3, 25, (21, 25)), (9, 25, (25, 25))],
)
def test_pages_say_what_they_show(number: int, total: int, shown: tuple[int, int]) -> None:
    paging = Paging(number, 10, total, "/x", {"q": "a b&c"})
    assert (paging.first, paging.last) == shown
    assert paging.address(1) == "/x?q=a+b%26c"
    assert paging.address(2) == "/x?q=a+b%26c&page=2"


def test_values_are_written_for_people() -> None:
    assert value_text(["a", 1, True]) == "a, 1, yes"
    assert value_text(False) == "no"
    assert count(1, "memory", "memories") == "1 memory"
    assert count(1_000, "person", "people") == "1,000 people"
    assert day(datetime(2024, 5, 1, tzinfo=UTC)) == '<time datetime="2024-05-01">1 May 2024</time>'
    assert day(None, "<x>") == '<span class="quiet">&lt;x&gt;</span>'


@pytest.mark.parametrize("name", ["", "nothing.css", "../sessions.py", "base.css/..", "..", "sessions.py", "base"])
def test_only_files_of_the_pages_are_given_out(name: str) -> None:
    assert static_file(name) is None
    assert static_file("base.css") is not None


RECORDS = [
    ("salesforce", "contact", "ORG/003X", {"id": "003X"}, "https://sf.example/003X"),
    ("salesforce", "task", "00T", {}, "https://sf.example/00T"),
    ("hubspot", "contact", "7", {"id": "7"}, "https://hs.example/c/7"),
    ("hubspot", "note", "8", {"id": "8"}, "https://hs.example/n/8"),
    ("slack", "conversation_day", "x", {"channel_id": "C06"}, "https://s.example/C06?d=x"),
    ("slack", "conversation_day", "x", {}, None),
    ("slack", "conversation_day", "x", {"channel_id": ["C06"]}, None),
    ("mail", "mail", "x", {}, None),
    ("salesforce", "task", "x", {"id": "../../a b?c#d@evil.example"}, "https://sf.example/..%2F..%2Fa%20b%3Fc%23d%40evil.example"),
    ("salesforce", "task", "x", {"id": "{native_id}"}, "https://sf.example/%7Bnative_id%7D"),
]  # fmt: skip


@pytest.fixture
def records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "INGEST_RECORD_URLS",
        '{"salesforce": "https://sf.example/{id}", "hubspot/contact": "https://hs.example/c/{id}", '
        '"hubspot": "https://hs.example/n/{id}", "slack": "https://s.example/{channel_id}?d={native_id}"}',
    )


@pytest.mark.usefixtures("records")
@pytest.mark.parametrize(("origin", "kind", "native_id", "metadata", "address"), RECORDS)
def test_a_record_is_linked_where_it_lives(
    origin: str, kind: str, native_id: str, metadata: dict[str, object], address: str | None
) -> None:
    """Nothing that a record holds leads anywhere but into the path of the template."""
    assert load_settings().record_urls.of_record(origin, kind, native_id, metadata) == address


@pytest.mark.usefixtures("records")
def test_so_are_the_ids_of_a_person() -> None:
    links = load_settings().record_urls
    assert links.of_identifier("salesforce", "ORG/003X") == "https://sf.example/003X"
    assert links.of_identifier("hubspot", "1/7") == "https://hs.example/c/7"
    assert links.of_identifier("email", "a@b.example") is None
    assert links.of_identifier("slack", "T1/U1") is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("INGEST_RECORD_URLS", "[]"),
        ("INGEST_RECORD_URLS", "{"),
        ("INGEST_RECORD_URLS", '{"crm": "javascript:alert(1)"}'),
        ("INGEST_RECORD_URLS", '{"crm": "https://{id}.example/"}'),
        ("INGEST_RECORD_URLS", '{"crm": "//x.example/{id}"}'),
        ("INGEST_RECORD_URLS", '{"crm": 1}'),
        ("INGEST_DAGSTER_URL", "javascript:alert(1)"),
        ("INGEST_DAGSTER_URL", "localhost:3000"),
    ],
)
def test_addresses_must_be_of_the_web(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=name):
        load_settings()


def ended(retry: Retry) -> RetryState:
    for _ in range(1_000):
        state = retry.state()
        if not state.running:
            return state
        threading.Event().wait(0.02)
    raise AssertionError("it does not end")


def command(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


def test_one_retry_runs_at_a_time_whoever_asks(tmp_path: Path) -> None:
    """Any process can tell; it goes on until its own end."""
    waiting = tmp_path / "go"
    settings = load_settings(home=tmp_path)
    code = f"import pathlib, time\nwhile not pathlib.Path({str(waiting)!r}).exists(): time.sleep(0.02)"
    mine, theirs = Retry(settings, command(code)), Retry(settings)
    assert mine.state() == RetryState(False)
    assert mine.start("kim", 3)
    assert theirs.state().running
    assert not theirs.start("lee", 3)
    begun = theirs.state().begun
    assert begun is not None
    assert (begun.by, begun.todo) == ("kim", 3)
    waiting.touch()
    assert not ended(theirs).running
    assert mine.start("lee", 2)
    assert ended(mine).begun != begun


@pytest.mark.parametrize(
    ("code", "outcome", "failed"),
    [
        ('print(\'{"run": {"success": true, "run_id": "r"}}\')', "everything that could be done is done", False),
        ('print(\'{"run": {"success": false, "run_id": "r", "failure": "2 failed"}}\')', "2 failed", True),
        ("import sys; print('noise', file=sys.stderr); sys.exit('error: no such database')", "no such database", True),
        ("import os; os._exit(1)", "it ended without a word", True),
        ("print('{')", "it ended without a word", True),
    ],
)  # fmt: skip
def test_how_a_retry_ended_is_told(tmp_path: Path, code: str, outcome: str, failed: bool) -> None:
    retry = Retry(load_settings(home=tmp_path), command(code))
    retry.start("kim", 1)
    state = ended(retry)
    assert (state.outcome, state.failed) == (outcome, failed)


class Answers:
    """Each call is one answer, which takes as long as it is told to; ``hold`` keeps it until ``go``."""

    def __init__(self) -> None:
        self.now, self.took, self.begun, self.asked = 0.0, 0.0, 0, 0
        self.go = threading.Event()
        self.go.set()

    def __call__(self) -> int:
        self.begun += 1
        assert self.go.wait(60)
        self.asked += 1
        self.now += self.took
        if self.asked == 13:
            raise StoreUnavailable("no answer")
        return self.asked

    def clock(self) -> float:
        return self.now


def test_what_is_quick_is_asked_anew_each_time() -> None:
    answers = Answers()
    latest = Latest(answers, wait_s=30, clock=answers.clock)
    assert [value_of(latest) for _ in range(3)] == [1, 2, 3]
    fresh = Latest(answers, wait_s=30, fresh_s=5, clock=answers.clock)
    assert [value_of(fresh), value_of(fresh)] == [4, 4]
    answers.now = 5.0
    assert value_of(fresh) == 5


def test_what_takes_long_is_asked_a_tenth_of_the_time() -> None:
    answers = Answers()
    answers.took = 60.0
    latest = Latest(answers, wait_s=30, clock=answers.clock)
    assert [value_of(latest), value_of(latest)] == [1, 1]
    answers.now += 9 * 60 - 1
    assert value_of(latest) == 1
    answers.now += 1
    assert value_of(latest) == 2


def test_nobody_waits_long_and_nobody_asks_twice_at_once() -> None:
    answers = Answers()
    answers.go.clear()
    hasty = Latest(answers, wait_s=0.0, clock=answers.clock)
    assert [value_of(hasty) for _ in range(3)] == [None] * 3
    assert answers.begun <= 1
    answers.go.set()
    while value_of(hasty) is None:
        threading.Event().wait(0.01)


def test_what_goes_wrong_is_told_and_asked_again() -> None:
    answers = Answers()
    answers.asked = 12
    latest = Latest(answers, wait_s=30, clock=answers.clock)
    with pytest.raises(StoreUnavailable):
        latest.load()
    assert value_of(latest) == 14


def value_of(latest: Latest[int]) -> int | None:
    found = latest.load()
    return found.value if found else None
