"""Partitions: what a key names, which keys there are, and how a run over many of them records good and bad ones."""

import re
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.events import log_partition, log_planned
from assets.partitions import register_profiles
from ingest_pipeline.documents import Source
from ingest_pipeline.editing import Editor
from ingest_pipeline.extraction.traits import load_traits
from ingest_pipeline.merging import merge_profiles, plan_merge, plan_undo, undo_merge
from ingest_pipeline.partitions import Partitioning, load_partition_keys
from ingest_pipeline.settings import PartitionBy
from ingest_pipeline.store.audit_log import Via
from ingest_pipeline.store.counts import Holdings, count_holdings, load_failed_in_run
from tests.orchestration import ANA, BEN, CYD, Workplace, failure, materialized, metadata, partitions, recorded

PROFILE, BUCKET = Partitioning(PartitionBy.PROFILE), Partitioning(PartitionBy.BUCKET)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workplace]:
    """Three people with a mail each, read but not extracted."""
    monkeypatch.setenv("INGEST_HOME", str(tmp_path))
    monkeypatch.setenv("INGEST_INTERNAL_DOMAINS", "northwind.example")
    with dg.DagsterInstance.ephemeral() as instance:
        place = Workplace(tmp_path, instance)
        place.mail("a", ANA, "I live in Lisbon.")
        place.mail("b", BEN, "I work as a plumber at Bolt.")
        place.mail("c", CYD, "I moved to Oslo last month.")
        assert place.materialize_all("email_documents").success
        yield place


@given(st.integers(0, 2**64 - 1).map(lambda number: f"{number:016x}"))
def test_a_profile_is_in_one_bucket_of_a_fixed_set(key: str) -> None:
    assert PROFILE.name(key) == key
    assert BUCKET.name(key) in set(BUCKET.buckets)


def test_names_are_what_dagster_allows() -> None:
    """No comma, bar, bracket, dots or space."""
    assert len(set(BUCKET.buckets)) == 1024
    assert all(re.fullmatch(r"[a-z0-9-]+", name) for name in BUCKET.buckets)


def test_keys_are_opaque_and_map_back(place: Workplace) -> None:
    profiles = place.profiles()
    names = {key for _, key in profiles.values()}
    assert names == load_partition_keys(place.engine)
    assert all(re.fullmatch(r"[0-9a-f]{16}", name) for name in names)
    assert PROFILE.load_profiles(place.engine, [*names, "unknown"]) == dict(profiles.values())
    buckets = {BUCKET.name(key) for key in names}
    assert set(BUCKET.load_profiles(place.engine, buckets)) == {profile for profile, _ in profiles.values()}


def test_registered_keys_are_exactly_the_living_profiles() -> None:
    """A merged or forgotten profile's key goes."""
    with dg.DagsterInstance.ephemeral() as instance:
        assert register_profiles(instance, PROFILE, lambda: {"a", "b"}) == 2
        assert register_profiles(instance, PROFILE, lambda: {"b", "c"}) == 1
        assert set(instance.get_dynamic_partitions("profile")) == {"b", "c"}
        assert register_profiles(instance, BUCKET, lambda: {"d"}) == 0


def test_key_of_a_merged_profile_goes_and_comes_back_when_the_merge_is_taken_back(place: Workplace) -> None:
    """With the same name, so that its past is its own again."""

    def registered() -> set[str]:
        register_profiles(place.instance, PROFILE, lambda: load_partition_keys(place.engine))
        return set(place.instance.get_dynamic_partitions("profile"))

    editor = Editor(place.engine, load_traits(None), "ana", Via.JOB)
    before, key = registered(), place.profiles()[BEN][1]
    merge_profiles(editor, plan_merge(place.engine, ANA, BEN))
    assert registered() == before - {key}
    undo_merge(editor, plan_undo(place.engine, ANA))
    assert registered() == before


def test_planned_mark_fails_a_partition_until_a_good_run() -> None:
    """Private parts of Dagster do this; when an upgrade changes them, this fails."""
    fails = {"now": True}

    @dg.op
    def work(context: dg.OpExecutionContext) -> None:
        log_partition(context, "table", "good", {})
        if fails["now"]:
            log_planned(context, "table", "bad")
            raise dg.Failure("one is bad", allow_retries=False)
        log_partition(context, "table", "bad", {})

    @dg.job
    def run() -> None:
        work()

    def status() -> dict[str, str | None]:
        keys = dg.StaticPartitionsDefinition(["good", "bad", "other"])
        found = instance.get_status_by_partition(dg.AssetKey("table"), keys.get_partition_keys(), keys) or {}
        return {key: value and value.value for key, value in found.items()}

    with dg.DagsterInstance.ephemeral() as instance:
        run.execute_in_process(instance=instance, raise_on_error=False)
        assert status() == {"good": "MATERIALIZED", "bad": "FAILED", "other": None}
        fails["now"] = False
        run.execute_in_process(instance=instance)
        assert status() == {"good": "MATERIALIZED", "bad": "MATERIALIZED", "other": None}


def test_range_of_extractions_records_every_key(place: Workplace) -> None:
    """Also those with nothing to do: a silent key makes a backfill end as failed."""
    first, *_, last = sorted(key for _, key in place.profiles().values())

    result = place.materialize(f"{first}|crm", f"{last}|email", "extractions")

    assert result.success
    everyone = {key for _, key in place.profiles().values()}
    recorded = {f"{key}|{source}" for key in everyone for source in ("crm", "email")}
    assert partitions(result, "extractions") >= recorded
    assert metadata(result, "extractions", f"{first}|email")["extracted"] == 1
    assert metadata(result, "extractions", f"{first}|crm")["documents"] == 0


def test_materialising_again_extracts_nothing_and_still_tells_what_is_there(place: Workplace) -> None:
    first, *_, last = sorted(key for _, key in place.profiles().values())
    place.materialize(f"{first}|email", f"{last}|email", "extractions")

    again = place.materialize(f"{first}|email", f"{last}|email", "extractions")

    found = metadata(again, "extractions", f"{first}|email")
    assert (found["extracted"], found["documents"], found["documents_pending"]) == (0, 1, 0)
    assert found["observations"] >= 1


def test_bad_document_fails_its_key_of_the_range_only(place: Workplace) -> None:
    place.stumble("fail:plumber")
    first, *_, last = sorted(key for _, key in place.profiles().values())

    result = place.materialize(f"{first}|email", f"{last}|email", "extractions")

    step, line = failure(result) or ("", "")
    assert step == "extractions"
    assert line.startswith("1 of 3 partitions hold failed documents, the others are done")
    ben, key = place.profiles()[BEN]
    assert recorded(place, result, "extractions") == {
        f"{other}|email" for _, other in place.profiles().values() if other != key
    }
    assert load_failed_in_run(place.engine, result.run_id) == {Source.EMAIL: {ben}}
    assert count_holdings(place.engine, [ben], Source.EMAIL) == {ben: Holdings(documents=1, failed=1)}
    checks = place.instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(dg.AssetKey("extractions"), "no_failed_documents"), limit=5
    )
    assert [check.status.value for check in checks] == ["FAILED"]


def test_range_of_tables_is_folded_and_checked(place: Workplace) -> None:
    first, *_, last = sorted(key for _, key in place.profiles().values())
    place.materialize(f"{first}|email", f"{last}|email", "extractions")

    result = place.materialize(first, last, "profiles", "traits", "memories", "lineage")

    assert result.success
    assert materialized(result) == {"profiles": 3, "traits": 3, "memories": 3, "lineage": 3}
    for asset, name in (("traits", "values_match_schema"), ("lineage", "every_fact_has_evidence")):
        (check,) = place.instance.event_log_storage.get_asset_check_execution_history(
            dg.AssetCheckKey(dg.AssetKey(asset), name), limit=5
        )
        assert check.status.value == "SUCCEEDED"


def test_key_of_no_profile_is_recorded_as_empty(place: Workplace) -> None:
    """Such as one whose profile was merged into another while the backfill waited."""
    place.instance.add_dynamic_partitions("profile", ["gone"])

    result = place.materialize("gone", "gone", "profiles", "traits", "memories", "lineage")

    assert result.success
    assert metadata(result, "profiles", "gone")["profiles"] == 0
