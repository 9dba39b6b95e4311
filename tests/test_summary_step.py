"""The step of a sync in which a model writes summaries: what the run tells of it, and that it asks nothing twice."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from ingest_pipeline.store.tables import Profile
from tests.builders import rows
from tests.orchestration import ANA, BEN, Outcome, Workplace
from tests.provider import Body, Provider, find_something

SUMMARY = "Somebody of Acme."


def asks_for_summary(body: Body) -> bool:
    return "<facts>" in str(body["messages"][1]["content"])


def answer(body: Body) -> str:
    return json.dumps({"summary": SUMMARY}) if asks_for_summary(body) else find_something(body)


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider(answer=answer) as provider:
        yield provider


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, provider: Provider) -> Iterator[Workplace]:
    """Two people with a mail each, nothing read yet."""
    settings = {
        "INGEST_HOME": str(tmp_path), "INGEST_INTERNAL_DOMAINS": "northwind.example", "INGEST_MODEL": "openai/test",
        "INGEST_API_BASE": provider.base_url, "INGEST_LLM_API_KEY": "key-123", "INGEST_SUMMARY": "llm",
        "INGEST_PRICES": '{"openai/test": {"input": 1, "output": 1}}', "INGEST_RPM": "100000",
    }  # fmt: skip
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with dg.DagsterInstance.ephemeral() as instance:
        place = Workplace(tmp_path, instance)
        place.mail("a", ANA, "I live in Lisbon.")
        place.mail("b", BEN, "I work as a plumber at Bolt.")
        yield place


def observed(result: Outcome) -> dict[str, Any]:
    """What the run recorded of the asset ``profiles`` as a whole."""
    found = [
        e.asset_observation_data.asset_observation.metadata
        for e in result.all_events
        if e.event_type is dg.DagsterEventType.ASSET_OBSERVATION and e.asset_key == dg.AssetKey("profiles")
    ]
    return {name: value.value for name, value in found[-1].items()}


def asked(provider: Provider) -> int:
    return sum(asks_for_summary(json.loads(seen.body)) for seen in provider.seen)


def test_a_sync_has_the_changed_profiles_described_and_the_next_one_asks_nothing(
    place: Workplace, provider: Provider
) -> None:
    first = place.run()
    assert first.success
    told = observed(first)
    assert (told["summaries_written"], told["summaries_failed"], told["summaries_left"]) == (2, 0, 0)
    assert (told["llm_calls"], asked(provider)) == (2, 2)
    assert told["cost_usd"] > 0
    assert {row.summary for row in rows(place.engine, Profile)} == {SUMMARY}

    before = len(provider.seen)
    second = place.run()
    assert second.success
    assert observed(second)["summaries_written"] == 0
    assert "llm_calls" not in observed(second)
    assert len(provider.seen) == before

    place.mail("c", ANA, "I moved to Porto.", number=9)
    third = place.run()
    assert observed(third)["summaries_written"] == 1
    assert asked(provider) == 3


def test_a_budget_that_is_spent_by_summaries_fails_no_run(
    place: Workplace, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INGEST_SUMMARY", "template")
    assert place.run().success
    monkeypatch.setenv("INGEST_SUMMARY", "llm")
    monkeypatch.setenv("INGEST_BUDGET_USD", "0.0001")
    poor = place.run()
    assert poor.success
    told = observed(poor)
    assert (told["summaries_written"], told["summaries_left"]) == (0, 2)
    assert "budget" in told["summary_reasons"]
    assert {row.summary_source for row in rows(place.engine, Profile)} == {"template"}
    monkeypatch.delenv("INGEST_BUDGET_USD")
    assert observed(place.run())["summaries_written"] == 2


def test_materialising_the_profile_tables_describes_their_people(place: Workplace, provider: Provider) -> None:
    assert place.run("nightly_sync").success
    provider.answer = lambda body: json.dumps({"summary": "Another one."})
    with place.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE profiles SET summary_inputs = 'old', changes = changes + 1")
    _, key = place.profiles()[ANA]
    assert place.materialize(key, key, "profiles", "traits", "memories", "lineage").success
    # The facts are the same, so the answer is there already.
    assert {row.summary for row in rows(place.engine, Profile)} == {SUMMARY}
    assert asked(provider) == 2
