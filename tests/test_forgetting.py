"""``ingest forget`` and the job ``forget_profile`` in a synced home: no byte of the person is left under it."""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from sqlalchemy import Engine, update

from ingest_pipeline.definitions import run_job
from ingest_pipeline.demo.inbox import generate, make_cast
from ingest_pipeline.launch import RunOutcome, prepare_dagster_home
from ingest_pipeline.pipeline import open_store
from ingest_pipeline.progress import LogProgress
from ingest_pipeline.settings import load_settings
from ingest_pipeline.store.lookup import find_profile
from ingest_pipeline.store.tables import DocumentRow, FileRow, IdentifierRow, Profile
from tests.builders import facts, rows
from tests.command_line import Run, runner

PEOPLE = 5
ANA, CHARLOTTE, DANIEL = (make_cast(7, PEOPLE)[number] for number in (0, 2, 4))


@pytest.fixture(scope="module")
def environment() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.startswith(("INGEST_", "DAGSTER_", "COLUMNS")):
                patch.delenv(name)
        yield patch


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, environment: pytest.MonkeyPatch) -> Path:
    """The demo's first people, synced by the nightly job."""
    home = tmp_path_factory.mktemp("home")
    environment.setenv("INGEST_HOME", str(home))
    environment.setenv("DAGSTER_HOME", str(home / "dagster"))
    generate(home / "inbox", people=PEOPLE)
    prepare_dagster_home(load_settings())
    assert run("nightly_sync").success
    return home


@pytest.fixture
def engine(home: Path) -> Iterator[Engine]:
    engine = open_store(load_settings())
    yield engine
    engine.dispose()


def run(job: str, config: Mapping[str, Any] | None = None) -> RunOutcome:
    return run_job(job, {"ops": dict(config)} if config else {}, LogProgress(lambda _line: None))


@pytest.fixture
def ingest(home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    return runner(home, monkeypatch, capfd, DAGSTER_HOME=str(home / "dagster"))


def said_by(engine: Engine, profile: str) -> set[str]:
    """Lines of a person's texts that stand in nobody else's."""
    mine, others = set(), ""
    for row in rows(engine, DocumentRow):
        if row.profile_id == profile:
            mine |= {line.partition(": ")[2] or line for line in row.text.splitlines()}
        else:
            others += row.text
    return {line for line in mine if len(line.split()) >= 3 and line not in others}


def left_of(home: Path, words: set[str]) -> dict[str, str]:
    """Files under a home, but for the inbox, that hold one of the words; case does not count."""
    found = {}
    for path in sorted(p for p in home.rglob("*") if p.is_file() and p.relative_to(home).parts[0] != "inbox"):
        content = path.read_bytes().lower()
        for word in words:
            if word.lower().encode() in content:
                found[str(path.relative_to(home))] = word
    return found


def partitions(engine: Engine) -> set[str]:
    with dg.DagsterInstance.get() as instance:
        return set(instance.get_dynamic_partitions("profile"))


def test_no_byte_of_the_person_is_left_and_no_sync_brings_them_back(home: Path, engine: Engine, ingest: Run) -> None:
    """Nor when every file is read again. Everybody else stays as they were."""
    ana = find_profile(engine, ANA.email)
    words = said_by(engine, ana) | {row.value for row in rows(engine, IdentifierRow, profile_id=ana)}
    words |= {ANA.name, *ANA.addresses}
    assert len(words) > 15
    assert len(left_of(home, words)) >= 1
    (key,) = {row.partition_key for row in rows(engine, Profile, id=ana)}
    assert key in partitions(engine)
    identifiers = ",".join(sorted(f"{r.kind}:{r.value}" for r in rows(engine, IdentifierRow, profile_id=ana)))

    def of_others() -> dict[str, list[Any]]:
        return {table: [fact for fact in found if fact[0] != identifiers] for table, found in facts(engine).items()}

    before = of_others()

    done = ingest("forget", ANA.email, "--yes")

    assert (done.code, done.err) == (0, "")
    assert "Nothing of the person is left there" in done.out
    assert left_of(home, words) == {}
    assert key not in partitions(engine)
    with engine.begin() as connection:
        connection.execute(update(FileRow).values(read_with=""))
    assert run("nightly_sync").success
    assert left_of(home, words) == {}
    assert of_others() == before
    skipped = [row.counts["skipped"].get("erased", 0) for row in rows(engine, FileRow)]
    assert sum(skipped) > 5

    again = ingest("forget", ANA.email, "--yes", "--json")
    assert again.code == 0
    assert json.loads(again.out)["clean"] is True


def test_the_job_does_the_same(home: Path, engine: Engine) -> None:
    """By profile id; its run holds counts alone."""
    daniel = find_profile(engine, DANIEL.email)
    (key,) = {row.partition_key for row in rows(engine, Profile, id=daniel)}
    words = said_by(engine, daniel) | set(DANIEL.addresses)
    outcome = run("forget_profile", {"forget_op": {"config": {"profile_id": daniel}}})
    assert outcome.success
    assert left_of(home, words) == {}
    assert key not in partitions(engine)
    unknown = run("forget_profile", {"forget_op": {"config": {"profile_id": daniel}}})
    assert (unknown.success, unknown.crashed) == (False, False)
    assert "unknown" in (unknown.failure or "")


def test_it_is_shown_and_asked_before(engine: Engine, ingest: Run) -> None:
    """A script has to say --yes; JSON without it is a preview."""
    for done in (ingest("forget", CHARLOTTE.email, answer="n\n"), ingest("forget", CHARLOTTE.email, "--json")):
        assert done.code == 0
        assert "documents" in done.out
    assert json.loads(done.out)["done"] is False
    assert ingest("forget", CHARLOTTE.email).code == 2
    assert find_profile(engine, CHARLOTTE.email)
    assert ingest("forget", CHARLOTTE.email, answer="y\n").code == 0
    assert ingest("text", CHARLOTTE.email, "--create", "--data", "I am back.").code == 2


def test_nobody_is_told_so(ingest: Run) -> None:
    for arguments in (("--yes",), ("--allow-return",)):
        done = ingest("forget", "nobody@nowhere.example", *arguments)
        assert done.code == 2
        assert done.err.startswith("error: no")


def test_what_is_left_is_told(home: Path, engine: Engine, ingest: Run) -> None:
    """Where, and with exit code 1; a file that an operator kept beside Dagster's."""
    other = make_cast(7, PEOPLE)[1].email
    kept = home / "dagster" / "kept.txt"
    kept.write_text(f"about {other}")
    done = ingest("forget", other, "--yes")
    assert done.code == 1
    assert str(home / "dagster") in done.out
    assert other not in done.err
    kept.unlink()
    assert ingest("forget", other, "--yes").code == 0


def test_a_return_reads_the_inbox_again(engine: Engine, ingest: Run) -> None:
    """After it the next sync finds the person there."""
    assert ingest("forget", CHARLOTTE.email, "--yes").code == 0
    assert ingest("forget", CHARLOTTE.email, "--allow-return").code == 0
    assert run("nightly_sync").success
    assert find_profile(engine, CHARLOTTE.email)
