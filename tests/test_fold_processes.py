"""Folding in several processes: the tables of one, and nobody left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import Engine, update

from ingest_pipeline import folding
from ingest_pipeline.demo.inbox import generate
from ingest_pipeline.extraction.traits import load_traits
from ingest_pipeline.folding import fold_profiles
from ingest_pipeline.store.fold_outcomes import Folded
from ingest_pipeline.store.profiles import count_unfolded
from ingest_pipeline.store.tables import Evidence, Memory, Profile, TraitHistory, TraitRow
from tests.builders import rows
from tests.syncing import sync

ROOT = Path(__file__).parents[1]
SCHEMA = load_traits(None)
BOUND_S = 60


def tables(engine: Engine) -> dict[str, list[object]]:
    stamps = {"created_at", "updated_at", "summary_updated_at", "changes", "folded", "summary_version"}
    return {
        table.__tablename__: sorted(
            tuple(value for name, value in row._mapping.items() if name not in stamps) for row in rows(engine, table)
        )
        for table in (TraitRow, Memory, Evidence, TraitHistory, Profile)
    }


def refold(engine: Engine, processes: int) -> list[Folded]:
    with engine.begin() as connection:
        for table in (Evidence, TraitHistory, TraitRow, Memory):
            connection.execute(table.__table__.delete())  # type: ignore[attr-defined] # a Table
        connection.execute(update(Profile).values(changes=Profile.changes + 1))
    return list(fold_profiles(engine, SCHEMA, processes=processes))


def test_two_processes_make_the_tables_of_one(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folding, "MANY", 5)
    generate(tmp_path / "inbox", people=12)
    sync(engine, tmp_path / "inbox")
    before = tables(engine)
    one, two = refold(engine, 1), refold(engine, 2)
    assert tables(engine) == before
    assert two == one
    assert sum(folded.evidence for folded in two) == len(before["evidence"])
    assert count_unfolded(engine) == 0


STUCK = """
import os, sys, time
from ingest_pipeline.fold_processes import fold_in_processes
from ingest_pipeline.store.engine import create_store_engine

def fold(engine, page):
    with open(page[0] + str(os.getpid()), "w"):
        pass
    time.sleep(600)

if __name__ == "__main__":
    list(fold_in_processes(create_store_engine(sys.argv[1]), [[sys.argv[2]]] * 4, fold, 2))
"""


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "stuck.py"
    script.write_text(STUCK)
    marks = tmp_path / "marks"
    marks.mkdir()
    parent = subprocess.Popen(
        [sys.executable, str(script), f"sqlite:///{tmp_path / 'profiles.db'}", f"{marks}/"],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    until = time.monotonic() + BOUND_S
    while len(list(marks.iterdir())) < 2:
        assert time.monotonic() < until
        assert parent.poll() is None
    workers = [int(path.name) for path in marks.iterdir()]
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    while any(is_alive(worker) for worker in workers):
        assert time.monotonic() < until


def is_alive(process: int) -> bool:
    """Not when it only waits to be asked how it ended."""
    try:
        os.kill(process, 0)
        state = Path(f"/proc/{process}/stat")
        return not state.parent.parent.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
