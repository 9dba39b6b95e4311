"""The op jobs: one run does exactly what is to be done, records it by partition, and says in one line what failed."""

import json
import re
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from sqlalchemy import select

from assets import steps
from ingest_pipeline.demo.inbox import generate
from ingest_pipeline.direct import TextRequest, ingest_text, store_text
from ingest_pipeline.launch import prepare_dagster_home
from ingest_pipeline.pipeline import open_pipeline
from ingest_pipeline.settings import load_settings
from ingest_pipeline.store.tables import DocumentRow
from tests.orchestration import ANA, BEN, CYD, Workplace, failure, materialized, metadata, partitions
from tests.serving import serving

TABLES = {"profiles", "traits", "memories", "lineage"}
SOURCES = {"crm_documents", "email_documents", "chat_documents"}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workplace]:
    """Three people with a mail each, nothing read yet."""
    monkeypatch.setenv("INGEST_HOME", str(tmp_path))
    monkeypatch.setenv("INGEST_INTERNAL_DOMAINS", "northwind.example")
    with dg.DagsterInstance.ephemeral() as instance:
        place = Workplace(tmp_path, instance)
        place.mail("a", ANA, "I live in Lisbon. Please call me, I never read e-mail.")
        place.mail("b", BEN, "I work as a plumber at Bolt.")
        place.mail("c", CYD, "I moved to Oslo last month.")
        yield place


def keys(place: Workplace, *people: str) -> set[str]:
    found = place.profiles()
    return {found[person][1] for person in people}


def test_nightly_builds_and_records_every_profile(place: Workplace) -> None:
    """Each partition with documents gets its own materialisation, each source asset one."""
    result = place.run()

    assert result.success
    assert materialized(result) == dict.fromkeys({"extractions", *TABLES}, 3) | dict.fromkeys(SOURCES, 1)
    everyone = keys(place, ANA, BEN, CYD)
    assert partitions(result, "extractions") == {f"{key}|email" for key in everyone}
    assert all(partitions(result, table) == everyone for table in TABLES)
    assert set(place.instance.get_dynamic_partitions("profile")) == everyone


def test_second_nightly_does_nothing(place: Workplace) -> None:
    place.run()

    again = place.run()

    assert again.success
    assert materialized(again) == dict.fromkeys(SOURCES, 1)
    assert metadata(again, "email_documents") | {"files_read": 0, "files_unchanged": 3, "documents_new": 0} == metadata(
        again, "email_documents"
    )


def test_new_mail_touches_its_sender_only(place: Workplace) -> None:
    place.run()
    place.mail("d", BEN, "I live in Porto now.", 15)

    result = place.run()

    (ben,) = keys(place, BEN)
    assert partitions(result, "extractions") == {f"{ben}|email"}
    assert partitions(result, "profiles") == {ben}


def test_metadata_says_what_the_run_did_and_what_there_is(place: Workplace) -> None:
    """Numbers and small tables; LLM figures only where an LLM was asked."""
    place.run()
    place.mail("d", BEN, "I live in Porto now.", 15)

    result = place.run()

    (ben,) = keys(place, BEN)
    extraction = metadata(result, "extractions", f"{ben}|email")
    assert (extraction["documents"], extraction["extracted"], extraction["failed"]) == (2, 1, 0)
    assert "llm_calls" not in extraction
    traits = metadata(result, "traits", ben)
    assert "| location | create | 1 |" in traits["changes"]
    assert "Porto" not in str(traits)


def test_totals_are_kept_for_plots(place: Workplace) -> None:
    """The whole store after each run, in the metadata of a check: Dagster draws its numbers over time."""
    result = place.run()

    evaluations = {evaluation.check_name: evaluation for evaluation in result.get_asset_check_evaluations()}
    totals = {name: value.value for name, value in evaluations["everything_is_processed"].metadata.items()}
    assert (totals["profiles"], totals["documents"], totals["documents_pending"]) == (3, 3, 0)
    assert totals["traits"] >= 2


def test_bad_document_fails_its_partition_and_nothing_else(place: Workplace) -> None:
    """The run fails with one line, the others' tables are built, and the next night finishes it."""
    place.stumble("fail:plumber")

    result = place.run()

    (ben,) = keys(place, BEN)
    step, line = failure(result) or ("", "")
    assert step == "verdict_op"
    assert line.startswith("1 documents failed, everything else is done")
    assert partitions(result, "extractions") == {f"{key}|email" for key in keys(place, ANA, CYD)}
    assert partitions(result, "traits") == keys(place, ANA, BEN, CYD)
    assert place.status("extractions")[f"{ben}|email"] == "FAILED"

    place.stumble()
    mended = place.run()

    assert mended.success
    assert partitions(mended, "extractions") == {f"{ben}|email"}
    assert set(place.status("extractions").values()) == {"MATERIALIZED"}


def test_a_folder_that_is_not_read_fails_the_run_at_its_end(place: Workplace, tmp_path: Path) -> None:
    """By one line, after everything else is done; the night after the settings were corrected reads it."""
    for folder, content in (("chat", "timezone: Europe\n"), ("email", "staff: [Sam Roe]\n")):
        (tmp_path / "inbox" / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / "inbox" / folder / "_source.yaml").write_text(content)
    result = place.run()
    assert failure(result) == (
        "verdict_op",
        "chat/_source.yaml: timezone must be an IANA zone such as Europe/Berlin; nothing in chat/ was read",
    )
    assert partitions(result, "traits") == keys(place, ANA, BEN, CYD)
    (tmp_path / "inbox" / "chat" / "_source.yaml").unlink()
    assert place.run().success


def test_checks_are_evaluated_in_the_run(place: Workplace) -> None:
    """They show on the assets' Checks tab although an op job has no checks of its own."""
    place.stumble("fail:plumber")
    place.run()
    place.stumble()
    place.run()

    history = {
        name: [
            record.status.value
            for record in place.instance.event_log_storage.get_asset_check_execution_history(
                dg.AssetCheckKey(dg.AssetKey(asset), name), limit=10
            )
        ]
        for asset, name in (
            ("extractions", "no_failed_documents"),
            ("traits", "values_match_schema"),
            ("lineage", "every_fact_has_evidence"),
            ("profiles", "everything_is_processed"),
        )
    }
    assert history == {
        "no_failed_documents": ["SUCCEEDED", "FAILED"],
        "values_match_schema": ["SUCCEEDED", "SUCCEEDED"],
        "every_fact_has_evidence": ["SUCCEEDED", "SUCCEEDED"],
        "everything_is_processed": ["SUCCEEDED", "SUCCEEDED"],
    }


def test_extraction_stopped_half_way_keeps_what_is_done(place: Workplace) -> None:
    """A spent budget fails the run, but the tables of what was extracted before are built."""
    place.run()
    for number, (name, person) in enumerate((("d", ANA), ("e", BEN), ("f", CYD)), start=10):
        place.mail(name, person, f"My job title is engineer{number}. I live in Porto.", number)
    place.stumble(*(f"stop:engineer{number}" for number in (10, 11, 12)))

    result = place.run()

    assert failure(result) == ("extract_op", "the budget of 1 USD is spent; raise INGEST_BUDGET_USD")
    with place.engine.connect() as connection:
        unfolded = "SELECT COUNT(*) FROM profiles WHERE changes <> folded"
        assert connection.exec_driver_sql(unfolded).scalar() == 0


def test_step_that_crashes_is_tried_again(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second try goes on where the first one stopped."""
    monkeypatch.setattr(steps, "RETRY", dg.RetryPolicy(max_retries=1))
    place.stumble("crash:plumber")

    result = place.run()

    assert result.success
    assert [e.step_key for e in result.all_events if e.event_type_value == "STEP_UP_FOR_RETRY"] == ["extract_op"]
    assert set(place.status("extractions").values()) == {"MATERIALIZED"}


def nightly_with_stumbling() -> dg.JobDefinition:
    """``nightly_sync`` as another process loads it."""
    place = Workplace(load_settings().home, dg.DagsterInstance.ephemeral())
    resources = {**(place.definitions.resources or {}), **place.resources}
    whole = place.definitions
    return dg.Definitions(
        jobs=[job for job in whole.jobs or [] if job.name == "nightly_sync"], resources=resources
    ).resolve_job_def("nightly_sync")


def test_reexecution_from_failure_tries_the_failed_documents_only(place: Workplace, tmp_path: Path) -> None:
    """From failure means verdict_op, the step that failed: it extracts again what failed in the run before."""
    job = dg.reconstructable(nightly_with_stumbling)
    quiet: dict[str, Any] = {
        "execution": {"config": {"in_process": {}}},
        "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
    }
    place.stumble("fail:plumber")
    (tmp_path / "dagster").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "dagster")) as instance:
        with dg.execute_job(job, instance, run_config=quiet) as first:
            assert not first.success
        options = dg.ReexecutionOptions.from_failure(first.run_id, instance)
        with dg.execute_job(job, instance, run_config=quiet, reexecution_options=options) as still_bad:
            assert not still_bad.success
        place.stumble()
        options = dg.ReexecutionOptions.from_failure(still_bad.run_id, instance)
        with dg.execute_job(job, instance, run_config=quiet, reexecution_options=options) as mended:
            assert mended.success
            done = {
                (e.asset_key.to_user_string(), e.partition)
                for e in mended.all_events
                if e.is_step_materialization and e.asset_key
            }

    (ben,) = keys(place, BEN)
    assert done == {("extractions", f"{ben}|email"), *((table, ben) for table in TABLES)}


def test_resync_touches_the_chosen_profiles(place: Workplace) -> None:
    place.run()
    profiles = place.profiles()

    result = place.run(
        "resync_profiles", {"extract_op": {"profiles": [profiles[ANA][0], profiles[CYD][0]], "reextract": "all"}}
    )

    assert result.success
    assert partitions(result, "extractions") == {f"{key}|email" for key in keys(place, ANA, CYD)}


def test_ingest_text_extracts_a_stored_document(place: Workplace) -> None:
    """That one alone. The run's config carries its id, not the text: what goes with it is stored with it."""
    place.run()
    profile, key = place.profiles()[BEN]
    city = {"key": "city", "valueType": "enum", "enumValues": ["Madrid"]}
    at = datetime(2024, 5, 1, tzinfo=UTC)
    pipeline = open_pipeline(load_settings())
    store_text(pipeline, profile, TextRequest("I live in Porto."))
    request = TextRequest("I live in Madrid.", "form", {"a": 1}, extract_memories=False, occurred_at=at, traits=[city])
    document = store_text(pipeline, profile, request)
    pipeline.close()

    result = place.run("ingest_text", {"text_extract_op": {"document_id": document}})

    assert result.success
    assert partitions(result, "extractions") == {f"{key}|direct"}
    assert partitions(result, "traits") == {key}
    with place.engine.connect() as connection:
        rows = list(
            connection.execute(select(DocumentRow).where(DocumentRow.source == "direct").order_by(DocumentRow.state))
        )
    assert [row.state for row in rows] == ["done", "pending"]
    assert (rows[0].id, rows[0].wanted, rows[0].occurred_at) == (document, "trait", at)
    assert "city" in rows[0].definitions


def test_texts_over_http_are_recorded_by_the_next_sync(place: Workplace) -> None:
    """One by one, many at once, and whatever no server got to."""
    place.run()
    settings = load_settings()
    known = place.profiles()
    with serving(settings.database_url, settings.home, key=None) as client:
        assert client.post(f"/api/profiles/{ANA}/ingest", json={"data": "I live in Madrid."}).status_code == 200
        line = json.dumps({"profile": BEN, "data": "I live in Faro."})
        job = client.post("/api/ingest/batch", content=line).json()["job"]["id"]
        done = client.get(f"/api/ingest/batch/{job}").json()["job"]
        assert done["stored"] == 1
        new = client.post("/api/profiles", json={"externalId": "new@acme.example"}).json()["profile"]["id"]
    store = open_pipeline(settings)
    store_text(store, new, TextRequest("I live in Bergen."))
    store.close()

    result = place.run()

    assert result.success
    people = {known[ANA][1], known[BEN][1], place.profiles()["new@acme.example"][1]}
    assert partitions(result, "extractions") == {f"{key}|direct" for key in people}
    assert partitions(result, "traits") == people
    assert {place.status("extractions")[f"{key}|direct"] for key in people} == {"MATERIALIZED"}
    assert materialized(place.run()) == dict.fromkeys(SOURCES, 1)


def test_texts_stored_outside_are_recorded_by_the_next_sync(place: Workplace) -> None:
    place.run()
    profile, key = place.profiles()[BEN]
    pipeline = open_pipeline(load_settings())
    ingest_text(pipeline, profile, TextRequest("I live in Madrid."))
    pipeline.close()

    result = place.run()

    assert partitions(result, "extractions") == {f"{key}|direct"}
    assert partitions(result, "traits") == {key}
    assert materialized(place.run()) == dict.fromkeys(SOURCES, 1)


def test_what_no_run_recorded_is_recorded_by_the_next(place: Workplace) -> None:
    """A run killed between storing and recording, or a new DAGSTER_HOME: nothing is extracted again."""
    place.stumble("fail:plumber")
    place.run()

    with dg.DagsterInstance.ephemeral() as other:
        elsewhere = Workplace(place.home, other)
        result = elsewhere.run()
        again = elsewhere.run()

    assert partitions(result, "extractions") == {f"{key}|email" for key in keys(place, ANA, CYD)}
    assert all(partitions(result, table) == keys(place, ANA, BEN, CYD) for table in TABLES)
    (ana,) = keys(place, ANA)
    found = metadata(result, "extractions", f"{ana}|email")
    assert (found["documents"], found["extracted"]) == (1, 0)
    assert materialized(again) == dict.fromkeys(SOURCES, 1)


UNKNOWN = "3b9d8a56-3b0e-4b39-9d21-000000000001"


@pytest.mark.parametrize(
    ("job", "ops", "environment", "step", "line"),
    [
        (
            "resync_profiles",
            {"extract_op": {"profiles": [UNKNOWN]}},
            {},
            "extract_op",
            "1 of 1 profile ids are unknown",
        ),
        ("resync_profiles", {"extract_op": {"profiles": [ANA]}}, {}, "extract_op", "profiles must be profile ids"),
        (
            "resync_profiles",
            {"extract_op": {"sources": ["fax"]}},
            {},
            "extract_op",
            "use one of crm, email, chat, direct",
        ),
        ("resync_profiles", {"extract_op": {"reextract": "most"}}, {}, "extract_op", "use one of missing, stale, all"),
        ("nightly_sync", {"sync_op": {"sources": ["direct"]}}, {}, "sync_op", "use one of crm, email, chat"),
        (
            "ingest_text",
            {"text_extract_op": {"document_id": UNKNOWN}},
            {},
            "text_extract_op",
            "no document of a profile",
        ),
        ("nightly_sync", {}, {"INGEST_INBOX": "/nowhere/inbox"}, "sync_op", "the inbox /nowhere/inbox does not exist"),
        ("nightly_sync", {}, {"INGEST_MODEL": "nobody/knows"}, "extract_op", "INGEST_MODEL"),
        ("nightly_sync", {}, {"INGEST_TRAITS": "/nowhere/traits.json"}, "extract_op", "/nowhere/traits.json"),
        (
            "nightly_sync",
            {},
            {"INGEST_DATABASE_URL": "postgresql://127.0.0.1:1/none"},
            "sync_op",
            "cannot open the database at 127.0.0.1:1",
        ),
    ],
)
def test_wrong_setting_or_config_fails_with_one_line(
    place: Workplace,
    monkeypatch: pytest.MonkeyPatch,
    job: str,
    ops: dict[str, Any],
    environment: dict[str, str],
    step: str,
    line: str,
) -> None:
    """It names what to change, and is not tried a second time."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    result = place.run(job, ops)

    failed, told = failure(result) or ("", "")
    assert failed == step
    assert line in told
    assert "\n" not in told
    assert not [e for e in result.all_events if e.event_type_value == "STEP_UP_FOR_RETRY"]


def test_buckets_are_the_partitions_when_asked_for(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same code: a key names a set of profiles, no dynamic partitions are made."""
    monkeypatch.setenv("INGEST_PARTITION_BY", "bucket")
    place.stumble("fail:plumber")

    result = place.run()

    assert (failure(result) or ("",))[0] == "verdict_op"
    assert len(partitions(result, "profiles")) in (2, 3)
    assert all(re.fullmatch(r"bucket-\d{4}", key) for key in partitions(result, "profiles"))
    assert list(place.status("extractions").values()).count("FAILED") == 1
    place.stumble()
    assert place.run().success
    assert materialized(place.run()) == dict.fromkeys(SOURCES, 1)
    assert not place.instance.get_dynamic_partitions("profile")


def test_crash_leaves_no_text_in_the_log(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database error tells the statement, not the row that it was about."""
    monkeypatch.setattr(steps, "RETRY", dg.RetryPolicy(max_retries=0))
    place.run()
    place.mail("d", BEN, "I live in Porto now.", 15)
    with place.engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER full BEFORE INSERT ON documents BEGIN SELECT RAISE(ABORT, 'disk full'); END"
        )

    result = place.run()

    log = "".join(repr(entry) for entry in place.instance.all_logs(result.run_id))
    assert not result.success
    assert "disk full" in log
    assert "Porto" not in log
    assert BEN not in log


def test_nothing_personal_is_left_in_dagsters_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No name, no identifier and no sentence of the sample inbox in event log, run config, tags, compute logs."""
    monkeypatch.setenv("INGEST_HOME", str(tmp_path))
    monkeypatch.setenv("INGEST_INTERNAL_DOMAINS", "northwind.example")
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    generate(tmp_path / "inbox", people=20)
    monkeypatch.setenv("DAGSTER_HOME", str(prepare_dagster_home(load_settings())))
    with dg.DagsterInstance.get() as instance:
        place = Workplace(tmp_path, instance)
        assert place.run().success
        profile = place.profiles()[min(place.profiles())][0]
        assert place.run("resync_profiles", {"extract_op": {"profiles": [profile], "reextract": "all"}}).success
    database = sqlite3.connect(tmp_path / "profiles.db")
    private = {row[0] for row in database.execute("SELECT display_name FROM profiles WHERE display_name LIKE '% %'")}
    # Shorter ones are bare numbers, which stand anywhere.
    private |= {row[0] for row in database.execute("SELECT value FROM identifiers WHERE length(value) > 6")}
    sentences = {row[0] for row in database.execute("SELECT quote FROM evidence WHERE length(quote) > 24")}
    database.close()
    assert len(private) > 60
    assert len(sentences) > 80

    files = [path for path in (tmp_path / "dagster").rglob("*") if path.is_file()]
    kept = b"\n".join(path.read_bytes() for path in files).decode("utf-8", "replace").casefold()
    assert len([path for path in files if path.suffix in (".out", ".err", ".db")]) > 4
    assert "nightly_sync" in kept
    found = {word for word in private | sentences if word.casefold() in kept}
    found |= {word for word in private | sentences if word.encode("unicode_escape").decode().casefold() in kept}
    assert not found
