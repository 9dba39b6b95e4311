"""Whole syncs over the demo inbox: in any order of the sources, again, and two at the same time."""

import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select

from ingest_pipeline.demo.inbox import generate
from ingest_pipeline.documents import Source
from ingest_pipeline.extraction.traits import load_traits
from ingest_pipeline.sources.inbox import FOLDERS
from ingest_pipeline.store.audits import audit_evidence, count_invalid_values
from ingest_pipeline.store.engine import reading
from ingest_pipeline.store.profiles import count_unfolded
from ingest_pipeline.store.tables import DocumentRow, Evidence, FileRow, IdentifierRow, Memory, Profile, TraitRow
from tests.builders import documents, empty, facts, people, rows
from tests.syncing import sync

ROOT = Path(__file__).parent.parent
BOUND = 120


@pytest.fixture(scope="module")
def inbox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("inbox")
    generate(root)
    return root


@pytest.fixture(scope="module")
def small_inbox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("small")
    generate(root, people=30)
    return root


def content(engine: Engine) -> dict[str, object]:
    ambiguous = sorted(row.value for row in rows(engine, IdentifierRow) if row.ambiguous)
    files = sorted((row.name, row.format, row.sha256, str(row.counts)) for row in rows(engine, FileRow))
    return {"people": people(engine), "documents": documents(engine), "ambiguous": ambiguous, "files": files} | facts(
        engine
    )


def assert_sound(engine: Engine) -> None:
    audit = audit_evidence(engine)
    assert (audit.without, audit.wrong) == (0, 0)
    assert audit.evidence >= audit.facts > 100
    assert count_invalid_values(engine, load_traits(None)) == {}
    assert count_unfolded(engine) == 0


def test_the_order_of_the_sources_never_counts(engine: Engine, inbox: Path) -> None:
    """Read all, extract all, fold; or sync one source after the other, in any order: the same tables."""
    sync(engine, inbox)
    assert_sound(engine)
    expected = content(engine)
    empty(engine)
    sync(engine, inbox, FOLDERS[::-1])
    assert content(engine) == expected
    for order in (FOLDERS, FOLDERS[::-1]):
        empty(engine)
        for source in order:
            sync(engine, inbox, [source])
        found = content(engine)
        for part, value in expected.items():
            assert found[part] == value, f"{part} after {order}"
    assert_sound(engine)


def test_a_second_sync_does_nothing(engine: Engine, small_inbox: Path) -> None:
    sync(engine, small_inbox)
    tables = (Profile, DocumentRow, TraitRow, Memory, Evidence, FileRow)
    before = [sorted(rows(engine, table), key=lambda row: str(row.id)) for table in tables]
    again = sync(engine, small_inbox)
    assert sum(report.files for report in again.read) == 0
    assert again.extracted == []
    assert again.folded == []
    assert [sorted(rows(engine, table), key=lambda row: str(row.id)) for table in tables] == before


def test_two_syncs_at_once_give_the_tables_of_one(engine: Engine, database_url: str, small_inbox: Path) -> None:
    sync(engine, small_inbox)
    expected = content(engine)
    empty(engine)
    command = [sys.executable, "-m", "tests.syncing", database_url, str(small_inbox)]
    processes = [
        subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    ends = [process.communicate(timeout=BOUND) for process in processes]
    assert [(process.returncode, end[1]) for process, end in zip(processes, ends, strict=True)] == [(0, "")] * 2
    assert content(engine) == expected
    assert count_unfolded(engine) == 0
    assert_sound(engine)


def test_sources_hold_what_the_demo_promises(engine: Engine, inbox: Path) -> None:
    sync(engine, inbox, [Source.CHAT, Source.EMAIL, Source.CRM])
    with reading(engine) as connection:
        found = dict(connection.execute(select(DocumentRow.source, func.count()).group_by(DocumentRow.source)).all())  # type: ignore[arg-type]
    assert sum(found.values()) >= 400
    assert set(found) == {"crm", "email", "chat"}
    assert len(rows(engine, Profile)) >= 60
