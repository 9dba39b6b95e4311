"""Work that nobody waits for: all of it is done, one thread per profile, and whatever breaks, the rest goes on."""

import threading
from collections.abc import Sequence

import pytest
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as NoneFree

from ingest_pipeline import background
from ingest_pipeline.background import Background
from ingest_pipeline.errors import ConfigurationError


class Extracting:
    """Remembers what it is given; waits for ``go``."""

    def __init__(self) -> None:
        self.given: list[tuple[str, list[str]]] = []
        self.at_once: dict[str, int] = {}
        self.began, self.go = threading.Event(), threading.Event()
        self.error: BaseException | None = None

    def __call__(self, profile: str, documents: Sequence[str]) -> None:
        self.given.append((profile, list(documents)))
        self.began.set()
        assert self.go.wait(20)
        if self.error:
            raise self.error


@pytest.fixture
def extracting() -> Extracting:
    return Extracting()


def test_what_comes_for_a_profile_meanwhile_is_taken_together_afterwards(extracting: Extracting) -> None:
    """No thread takes documents of a profile that another one is at; other profiles do not wait for it."""
    work = Background(extracting, 2)
    work.add("a", ["1"])
    assert extracting.began.wait(20)
    for document in "234":
        work.add("a", [document])
    extracting.began.clear()
    work.add("b", ["5"])
    assert extracting.began.wait(20)
    assert not work.drain(0)
    extracting.go.set()
    assert work.drain(20)
    assert sorted(extracting.given) == [("a", ["1"]), ("a", ["2", "3", "4"]), ("b", ["5"])]
    work.close()


def test_many_from_many_threads_are_all_done_once(extracting: Extracting) -> None:
    extracting.go.set()
    work = Background(extracting, 4)

    def add(thread: int) -> None:
        for number in range(200):
            work.add(f"p{number % 7}", [f"{thread}.{number}"])

    threads = [threading.Thread(target=add, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert work.drain(20)
    done = [document for _, documents in extracting.given for document in documents]
    assert sorted(done) == sorted(f"{thread}.{number}" for thread in range(4) for number in range(200))
    work.close()


@pytest.mark.parametrize(
    "error", [ConfigurationError("spent"), OperationalError("x", {}, Exception("Ana")), NoneFree()]
)
def test_an_error_is_told_without_texts_and_the_rest_goes_on(
    extracting: Extracting, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    extracting.error = error
    extracting.go.set()
    work = Background(extracting, 1)
    work.add("a", ["1"])
    assert work.drain(20)
    extracting.error = None
    work.add("a", ["2"])
    assert work.drain(20)
    assert extracting.given == [("a", ["1"]), ("a", ["2"])]
    assert "1 documents are left to the next sync" in caplog.text
    assert "Ana" not in caplog.text
    assert "Traceback" not in caplog.text
    work.close()


def test_a_bug_does_not_stop_it(extracting: Extracting, caplog: pytest.LogCaptureFixture) -> None:
    extracting.error = KeyError("bug")
    extracting.go.set()
    work = Background(extracting, 1)
    work.add("a", ["1"])
    assert work.drain(20)
    extracting.error = None
    work.add("a", ["2"])
    assert work.drain(20)
    assert [documents for _, documents in extracting.given] == [["1"], ["2"]]
    assert "KeyError" in caplog.text
    work.close()


def test_more_than_is_kept_waiting_is_left(
    extracting: Extracting, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And there is room again when what waited is done."""
    monkeypatch.setattr(background, "MAX_DUE", 3)
    work = Background(extracting, 1)
    work.add("a", ["1"])
    assert extracting.began.wait(20)
    for profile in "abcd":
        work.add(profile, [profile])
    extracting.go.set()
    assert work.drain(20)
    assert len(extracting.given) == 4
    assert "1 documents are left to the next sync: too many are due" in caplog.text
    work.add("e", ["6", "7", "8"])
    assert work.drain(20)
    assert extracting.given[-1] == ("e", ["6", "7", "8"])
    work.close()


def test_the_end_waits_for_what_is_under_way_and_begins_nothing(extracting: Extracting) -> None:
    work = Background(extracting, 1)
    work.add("a", ["1"])
    assert extracting.began.wait(20)
    work.add("a", ["2"])
    work.add("b", ["3"])
    closing = threading.Thread(target=work.close)
    closing.start()
    extracting.go.set()
    closing.join()
    work.add("c", ["4"])
    assert extracting.given == [("a", ["1"])]
    work.close()
