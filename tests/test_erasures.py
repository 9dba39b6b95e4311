"""Erasures over HTTP whose process is killed or stopped: another goes on with them, whatever step they were at."""

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, update

from ingest_pipeline.api import erasures, profiles
from ingest_pipeline.api.erasures import Erasures
from ingest_pipeline.erasing import erase
from ingest_pipeline.errors import ProfileNotFound, StoreUnavailable
from ingest_pipeline.pipeline import Pipeline, open_pipeline
from ingest_pipeline.settings import Settings
from ingest_pipeline.store.audit_log import Via, load_audit_log
from ingest_pipeline.store.direct import create_profile
from ingest_pipeline.store.engine import open_engine
from ingest_pipeline.store.erasures import LEASE, Asked, ask, claim_abandoned, renew, settle
from ingest_pipeline.store.tables import DocumentRow, ErasureRow, Profile
from tests.builders import rows
from tests.serving import serving

NOW = datetime(2024, 5, 3, 10, tzinfo=UTC)
ANA, BO = (f"00000000-0000-4000-8000-00000000000{n}" for n in (1, 2))

DYING = """
import os, signal, sys
from ingest_pipeline.api import erasures
from ingest_pipeline.pipeline import open_pipeline
from ingest_pipeline.settings import Settings

url, home, profile, stage = sys.argv[1:]
as_it_is = erasures._UntilStopped.start

def start(self, name, total):
    if name == stage:
        os.kill(os.getpid(), signal.SIGKILL)
    as_it_is(self, name, total)

erasures._UntilStopped.start = start
pipeline = open_pipeline(Settings(home=home, database_url=url))
erasures.Erasures(pipeline).begin(profile, "maya").result()
"""
"""A process that is killed when a stage begins."""


def test_an_erasure_is_one_process_at_a_time_and_stays_until_it_is_done(engine: Engine) -> None:
    ask(engine, Asked(ANA, "maya", Via.API), NOW)
    assert claim_abandoned(engine, NOW + LEASE) == []
    ask(engine, Asked(ANA, "zoe", Via.VIEWER), NOW + LEASE)  # somebody asks again
    assert claim_abandoned(engine, NOW + LEASE * 2) == []
    later = NOW + LEASE * 2 + timedelta(seconds=1)
    assert claim_abandoned(engine, later) == [Asked(ANA, "maya", Via.API)]
    assert claim_abandoned(engine, later) == []
    renew(engine, ANA, later + LEASE * 5)
    ask(engine, Asked(BO, "zoe", Via.VIEWER), later)
    assert claim_abandoned(engine, later + LEASE * 2) == [Asked(BO, "zoe", Via.VIEWER)]
    settle(engine, ANA)
    assert claim_abandoned(engine, later + LEASE * 9) == [Asked(BO, "zoe", Via.VIEWER)]


@pytest.fixture
def ana(sqlite_url: str, tmp_path: Path) -> str:
    """A profile that said something, and others that heard of it; no server runs."""
    with serving(sqlite_url, tmp_path) as client:
        for name in ("ana", "bo"):
            client.post("/api/profiles", json={"externalId": name})
            client.post(f"/api/profiles/{name}/ingest", json={"data": "I live in Lisbon."})
        found: str = client.get("/api/profiles/ana").json()["profile"]["id"]
        return found


@pytest.mark.parametrize("stage", ["taking samples", "looking at texts", "erasing", "proving documents"])
def test_the_server_that_starts_next_goes_on_with_what_a_killed_one_left(
    sqlite_url: str, tmp_path: Path, ana: str, stage: str
) -> None:
    """For whom it was asked; nobody needs to ask again."""
    command = [sys.executable, "-c", DYING, sqlite_url, str(tmp_path), ana, stage]
    assert subprocess.run(command, check=False, timeout=120).returncode == -signal.SIGKILL
    engine = open_engine(sqlite_url)
    is_gone = stage == "proving documents"
    assert (not rows(engine, Profile, id=ana)) is is_gone
    (left,) = rows(engine, ErasureRow)
    assert (left.profile_id, left.actor, left.via) == (ana, "maya", "api")
    let_go(engine)
    with serving(sqlite_url, tmp_path) as client:
        settled(engine)
        assert client.get(f"/api/profiles/{ana}").status_code == 404
        assert client.get("/api/profiles/bo/traits").json()["traits"]
    assert not rows(engine, DocumentRow, profile_id=ana)
    (entry,) = load_audit_log(engine, ana, limit=1)
    assert (entry.action, entry.actor, entry.via) == ("erase", "maya", "api")
    engine.dispose()


def let_go(engine: Engine) -> None:
    """The killed process has said nothing for long."""
    with engine.begin() as connection:
        connection.execute(update(ErasureRow).values(claimed_until=datetime.now(UTC) - timedelta(seconds=1)))


def settled(engine: Engine) -> None:
    for _ in range(1_200):
        if not rows(engine, ErasureRow):
            return
        threading.Event().wait(0.05)
    raise AssertionError("it is still there")


def test_who_asks_again_after_a_crash_gets_the_outcome(sqlite_url: str, tmp_path: Path, ana: str) -> None:
    """At once: nobody waits for what the killed process had claimed."""
    command = [sys.executable, "-c", DYING, sqlite_url, str(tmp_path), ana, "erasing"]
    assert subprocess.run(command, check=False, timeout=120).returncode == -signal.SIGKILL
    with serving(sqlite_url, tmp_path) as client:
        answer = client.delete("/api/profiles/ana", headers={"X-Actor": "zoe"})
        assert (answer.status_code, answer.json()["deleted"]["messages"], answer.json()["clean"]) == (200, 1, True)
        settled(client.app.state.services.pipeline.engine)  # type: ignore[attr-defined]


@pytest.fixture
def pipeline(database_url: str, tmp_path: Path) -> Iterator[Pipeline]:
    pipeline = open_pipeline(Settings(home=tmp_path, database_url=database_url))
    yield pipeline
    pipeline.close()


def test_what_is_done_is_not_done_again(pipeline: Pipeline) -> None:
    """Nor what was asked for somebody who is gone already."""
    engine = pipeline.engine
    ana = create_profile(engine, "ana")
    mine = Erasures(pipeline)
    assert mine.begin(ana, "maya").result(60).profile_id == ana
    with pytest.raises(ProfileNotFound):
        mine.begin(ana, "maya").result(60)
    assert rows(engine, ErasureRow) == []
    mine.close()


@pytest.fixture
def go(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Until it is set, no erasure gets further than its beginning."""
    go = threading.Event()

    def held(*arguments: Any) -> Any:
        assert go.wait(60)
        return erase(*arguments)

    monkeypatch.setattr(erasures, "erase", held)
    return go


def test_what_waits_for_its_turn_stays_with_its_process(pipeline: Pipeline, go: threading.Event) -> None:
    """However long the one before it takes."""
    engine = pipeline.engine
    mine = Erasures(pipeline)
    asked = [mine.begin(create_profile(engine, name), "maya") for name in ("ana", "bo")]
    soon = datetime.now(UTC) + timedelta(seconds=10)
    with engine.begin() as connection:
        connection.execute(update(ErasureRow).values(claimed_until=soon))
    mine.look()
    assert claim_abandoned(engine, soon + LEASE / 2) == []
    go.set()
    assert [each.result(60).clean for each in asked] == [True, True]
    mine.close()


def test_what_another_process_did_meanwhile_is_left(pipeline: Pipeline, go: threading.Event) -> None:
    """The database is not written anew for it a second time."""
    engine = pipeline.engine
    ana, bo = (create_profile(engine, name) for name in ("ana", "bo"))
    mine = Erasures(pipeline)
    first = mine.begin(ana, "maya")
    ask(engine, Asked(bo, "maya", Via.API), datetime.now(UTC) - LEASE * 2)
    mine.look()  # takes it up, behind the first
    settle(engine, bo)
    go.set()
    assert first.result(60).profile_id == ana
    mine.close()
    assert rows(engine, Profile, id=bo)


def test_an_erasure_that_takes_long_goes_on_and_says_so(
    database_url: str, tmp_path: Path, go: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is told of a success that is not there yet; who asks again waits for the same outcome."""
    with serving(database_url, tmp_path) as client:
        ana = client.post("/api/profiles", json={"externalId": "ana"}).json()["profile"]["id"]
        with monkeypatch.context() as patch:
            patch.setattr(profiles, "ERASING_S", 0.05)
            begun = client.delete("/api/profiles/ana")
        assert (begun.status_code, begun.json()) == (202, {"success": False, "state": "running"})
        assert "Retry-After" in begun.headers
        running = client.app.state.services.erasures.begin(ana, "api")  # type: ignore[attr-defined]
        go.set()
        assert running.result(timeout=60).profile_id == ana
        assert client.delete("/api/profiles/ana").status_code == 404


def test_a_server_that_stops_breaks_an_erasure_off_and_the_next_goes_on_at_once(
    database_url: str, tmp_path: Path, go: threading.Event
) -> None:
    with serving(database_url, tmp_path) as client:
        ana = client.post("/api/profiles", json={"externalId": "ana"}).json()["profile"]["id"]
        client.post("/api/profiles/ana/ingest", json={"data": "I live in Lisbon."})
        services = client.app.state.services  # type: ignore[attr-defined]
        running = services.erasures.begin(ana, "maya")
        services.erasures.stop()
        go.set()
        with pytest.raises(StoreUnavailable, match="goes on"):
            running.result(timeout=60)
    with serving(database_url, tmp_path) as client:
        settled(client.app.state.services.pipeline.engine)  # type: ignore[attr-defined]
        assert client.get(f"/api/profiles/{ana}").status_code == 404
        assert rows(client.app.state.services.pipeline.engine, DocumentRow) == []  # type: ignore[attr-defined]
