"""Batch mode as it is operated: the jobs and the sensor in Dagster, the commands, and what comes before them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from resources.llm import LlmResource
from resources.store import StoreResource
from tests.command_line import Run, runner, words
from tests.orchestration import ANA, BEN, CYD, Workplace, failure, partitions
from tests.provider_batch import BatchProvider

MODEL = "openai/gpt-test"

pytestmark = [
    # litellm's own models, and the connections of its batch functions, which it leaves to the garbage collector.
    pytest.mark.filterwarnings("ignore:Item '.*' on TypedDict class:UserWarning"),
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def provider() -> Iterator[BatchProvider]:
    with BatchProvider() as provider:
        yield provider


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, provider: BatchProvider) -> Iterator[Workplace]:
    """Three people with a mail each, nothing read yet, and a provider with a batch API."""
    for name, value in settings(tmp_path, provider).items():
        monkeypatch.setenv(name, value)
    with dg.DagsterInstance.ephemeral() as instance:
        place = Workplace(tmp_path, instance)
        fill(place)
        yield place


@pytest.fixture
def ingest(
    tmp_path: Path, provider: BatchProvider, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Run:
    return runner(tmp_path, monkeypatch, capfd, **settings(tmp_path, provider))


def settings(home: Path, provider: BatchProvider) -> dict[str, str]:
    return {
        "INGEST_HOME": str(home),
        "INGEST_MODEL": MODEL,
        "INGEST_API_BASE": provider.base_url,
        "INGEST_LLM_API_KEY": "key",
        "INGEST_PRICES": json.dumps({MODEL: {"input": 1.0, "output": 10.0}}),
        "INGEST_INTERNAL_DOMAINS": "northwind.example",
    }


def fill(place: Workplace) -> None:
    place.mail("a", ANA, "I live in Lisbon and I never read e-mail.")
    place.mail("b", BEN, "I work as a plumber at Bolt.")
    place.mail("c", CYD, "I moved to Oslo last month.")


def keys(place: Workplace, *people: str) -> set[str]:
    found = place.profiles()
    return {f"{found[person][1]}|email" for person in people}


def tick(place: Workplace) -> str | None:
    """Why the sensor starts no run; None when it starts one."""
    resources = {"store": StoreResource(), "llm": LlmResource(store=StoreResource())}
    sensor = place.definitions.resolve_sensor_def("batch_poll")
    with dg.build_sensor_context(instance=place.instance, resources=resources) as context:
        said = sensor.evaluate_tick(context)
    return None if said.run_requests else said.skip_message


def real() -> dict[str, Any]:
    """Instead of the extractor that stumbles."""
    return {"llm": LlmResource(store=StoreResource())}


def test_a_batch_goes_from_the_inbox_to_the_tables(place: Workplace, provider: BatchProvider) -> None:
    """Submitted by one job, seen to have ended by the sensor, collected and recorded by another."""
    assert tick(place) == "no batch is under way"

    submitted = place.run("batch_submit", **real())

    assert submitted.success
    assert len(provider.asked()) == 3
    assert partitions(submitted, "extractions") == set(), "nothing is known yet"
    provider.steps = 3
    assert [tick(place) for _ in range(3)] == ["1 batches are under way"] * 2 + [None]

    collected = place.run("batch_collect", **real())

    assert collected.success
    assert partitions(collected, "extractions") == keys(place, ANA, BEN, CYD)
    assert partitions(collected, "memories") == {key.partition("|")[0] for key in keys(place, ANA, BEN, CYD)}
    assert tick(place) == "no batch is under way"
    assert provider.statuses().total() == 0, "nothing was asked directly"


def test_what_a_batch_did_not_bring_is_left_for_the_next(place: Workplace, provider: BatchProvider) -> None:
    """Its partition fails, the others are built; the next batch asks about it alone."""
    provider.fault = lambda body: 500 if "plumber" in body["messages"][1]["content"] else ""
    place.run("batch_submit", **real())
    while tick(place):
        pass

    collected = place.run("batch_collect", **real())

    assert (failure(collected) or ("", ""))[0] == "verdict_op"
    (ben,) = keys(place, BEN)
    assert place.status("extractions")[ben] == "FAILED"
    assert partitions(collected, "extractions") == keys(place, ANA, CYD)
    provider.fault = lambda body: ""
    asked = len(provider.asked())
    assert place.run("batch_submit", **real()).success
    assert len(provider.asked()) == asked + 1


def test_no_batch_api_ends_the_run_with_one_line(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGEST_MODEL", "offline")
    step, line = failure(place.run("batch_submit")) or ("", "")
    assert step == "submit_op"
    assert "set INGEST_MODEL" in line


def test_what_is_refused_again_and_again_is_given_up(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Syncs ask INGEST_MAX_ATTEMPTS times and then are green again; `ingest retry` asks all the same."""
    monkeypatch.setenv("INGEST_MODEL", "offline")
    monkeypatch.setenv("INGEST_MAX_ATTEMPTS", "2")
    place.stumble("refuse:plumber")
    assert [place.run().success for _ in range(3)] == [False, False, True]
    (ben,) = keys(place, BEN)
    assert place.status("extractions")[ben] == "FAILED"

    place.stumble()
    assert partitions(place.run(), "extractions") == set()
    again = place.run(ops={"sync_op": {"sources": []}, "extract_op": {"given_up": True}})
    assert partitions(again, "extractions") == {ben}


def pending(status: dict[str, Any]) -> int:
    return sum(source["pending"] for source in status["sources"])


def test_the_commands_hand_in_and_collect(ingest: Run, tmp_path: Path, provider: BatchProvider) -> None:
    """--dry-run says what it takes and calls nothing; status shows what is under way."""
    assert ingest("batch", "poll").code == 2, "there is no database yet"
    ingest("db", "upgrade")
    assert "no batch is under way" in ingest("batch", "poll").out
    with dg.DagsterInstance.ephemeral() as instance:
        fill(Workplace(tmp_path, instance))
    assert ingest("sync", "--dry-run", "--json").json["documents"] == 0, "it reads no files"
    told = ingest("sync", "--dry-run").out
    assert words(told) == "Nothing is pending. files that no sync has read yet are not counted"
    provider.behave(status=500, error="down")
    assert ingest("sync", "--batch").code == 2
    provider.behave(status=200)

    before = ingest("sync", "--dry-run", "--json").json
    assert (before["documents"], before["calls"], before["cached"]) == (3, 3, 0)
    assert before["cost_usd"] == pytest.approx((before["input_tokens"] + 10 * before["output_tokens"]) / 1e6)
    assert ingest("sync", "--batch").code == 0
    under_way = ingest("status", "--json").json
    assert (pending(under_way), under_way["estimate"]["documents"]) == (3, 0), "the batch has them"
    assert [(batch["state"], batch["documents"]) for batch in under_way["batches"]] == [("submitted", 3)]

    assert "in_progress" in words(ingest("batch", "poll").out)
    collected = ingest("batch", "poll", "--json").json
    assert collected["run"]["success"]
    assert (pending(collected["status"]), collected["status"]["memories"]) == (0, 3)
    assert collected["status"]["llm_calls"] == 3
    again = ingest("sync", "--dry-run", "--reextract", "all", "--json").json
    assert (again["calls"], again["cached"], again["cost_usd"]) == (0, 3, 0.0)
    for command in (("status",), ("sync", "--dry-run")):
        told = words(ingest(*command, INGEST_MODEL="offline").out)
        assert "3 documents were extracted by another model, prompt or trait schema; `ingest sync --reextract" in told


def test_an_offline_model_has_no_batches(ingest: Run) -> None:
    assert ingest("sync", "--batch", INGEST_MODEL="offline").code == 2
    assert ingest("batch", "poll", INGEST_MODEL="offline").code == 2
