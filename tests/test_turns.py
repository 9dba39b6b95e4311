"""One thread at a time computes; the others wait for its end, or for it to wait."""

import threading

import pytest

from ingest_pipeline.llm.turns import Turn


class Response:
    """Its body comes when somebody else says so."""

    def __init__(self) -> None:
        self.asked, self.came = threading.Event(), threading.Event()

    def read(self) -> None:
        self.asked.set()
        assert self.came.wait(60)


def test_nobody_computes_beside_another() -> None:
    turn, inside, most = Turn(), 0, 0

    def compute() -> None:
        nonlocal inside, most
        for _ in range(200):
            with turn:
                inside += 1
                most = max(most, inside)
                inside -= 1

    threads = [threading.Thread(target=compute) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_who_waits_for_an_answer_lets_others_compute() -> None:
    """Also while its body comes slowly; then it goes on when the other is done."""
    turn, response = Turn(), Response()
    steps: list[str] = []

    def ask() -> None:
        with turn:
            turn.pause()
            turn.read(response)
            steps.append("answered")

    asking = threading.Thread(target=ask)
    asking.start()
    assert response.asked.wait(60)
    with turn:
        response.came.set()
        steps.append("computed")
    asking.join()
    assert steps == ["computed", "answered"]


def test_an_error_while_waiting_leaves_the_turn_to_others() -> None:
    turn = Turn()

    def fail() -> None:
        with turn:
            turn.pause()
            raise ConnectionError

    with pytest.raises(ConnectionError):
        fail()
    with turn:
        pass


def test_outside_of_a_turn_nothing_is_taken() -> None:
    """Embeddings use the same HTTP client."""
    turn = Turn()
    turn.pause()
    turn.resume()
    with turn:
        pass


def test_whose_answer_came_goes_before_those_who_begin() -> None:
    turn, response = Turn(), Response()
    steps: list[str] = []

    def ask() -> None:
        with turn:
            turn.pause()
            turn.read(response)
            steps.append("answered")

    def begin() -> None:
        with turn:
            steps.append("began")

    asking, beginning = threading.Thread(target=ask), threading.Thread(target=begin)
    asking.start()
    assert response.asked.wait(60)
    with turn:
        beginning.start()
        while not turn.waiting:
            pass
        response.came.set()
        while turn.waiting < 2:
            pass
    asking.join()
    beginning.join()
    assert steps == ["answered", "began"]
