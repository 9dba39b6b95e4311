"""Exports: what is in the store is in the files, in all three formats, and a cell never becomes a formula."""

import csv
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from sqlalchemy import Engine, func, select, update

from ingest_pipeline import exporting
from ingest_pipeline.direct import TextRequest, ingest_text
from ingest_pipeline.editing import Editor, set_summary
from ingest_pipeline.errors import ConfigurationError, ProfileNotFound
from ingest_pipeline.exporting import TABLES, Exported, Format, export_person, export_tables
from ingest_pipeline.extraction.offline import OfflineExtractor
from ingest_pipeline.extraction.traits import load_traits
from ingest_pipeline.pipeline import Pipeline
from ingest_pipeline.progress import LogProgress
from ingest_pipeline.settings import load_settings
from ingest_pipeline.store.audit_log import Via
from ingest_pipeline.store.direct import create_profile
from ingest_pipeline.store.tables import DocumentRow, Evidence, Profile
from ingest_pipeline.wire import edit_json

SAID = "I moved to Lisbon in May. I love chess, “zażółć” and =SUM(A1)."
METADATA = {"survey": {"page": 3, "tags": ["a", "b"]}}


@pytest.fixture
def profile(engine: Engine) -> str:
    """Two people; this one said SAID."""
    schema = load_traits(None)
    pipeline = Pipeline(load_settings(), engine, schema, OfflineExtractor(schema))
    create_profile(engine, "-1+1")
    profile_id = create_profile(engine, "crm-1")
    at = datetime(2024, 6, 1, 12, 30, 15, 250_000, tzinfo=UTC)
    ingest_text(pipeline, profile_id, TextRequest(SAID, "survey", METADATA, occurred_at=at))
    return profile_id


def export(engine: Engine, directory: Path, to: Format) -> dict[str, Exported]:
    return {one.table: one for one in export_tables(engine, directory, to, LogProgress(lambda _: None))}


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def cells(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("to", Format)
def test_every_table_is_a_file_with_all_its_rows(engine: Engine, profile: str, tmp_path: Path, to: Format) -> None:
    written = export(engine, tmp_path / "new" / "folder", to)
    assert list(written) == list(TABLES)
    read = {Format.PARQUET: pd.read_parquet, Format.CSV: cells, Format.JSONL: lines}[to]
    with engine.connect() as connection:
        for name, table in TABLES.items():
            stored = connection.execute(select(func.count()).select_from(table)).scalar_one()
            assert (written[name].rows, len(read(written[name].path))) == (stored, stored)
    assert written["evidence"].rows > 0
    assert written["files"].rows == 0
    assert {path.name for path in (tmp_path / "new" / "folder").iterdir()} == {f"{name}.{to}" for name in TABLES}


def test_parquet_keeps_types_also_of_an_empty_table(engine: Engine, profile: str, tmp_path: Path) -> None:
    """Times in UTC, whole numbers with gaps as whole numbers, JSON as text."""
    export(engine, tmp_path, Format.PARQUET)
    documents = pq.read_table(tmp_path / "documents.parquet")
    assert documents["occurred_at"].to_pylist() == [datetime(2024, 6, 1, 12, 30, 15, 250_000, tzinfo=UTC)]
    assert documents["text"].to_pylist() == [SAID]
    assert json.loads(documents["metadata"][0].as_py()) == {"source": "survey", "metadata": METADATA}
    assert documents["file_id"].to_pylist() == [None]
    for name, table in TABLES.items():
        assert pq.read_schema(tmp_path / f"{name}.parquet").names == [column.name for column in table.columns]
    assert str(pq.read_schema(tmp_path / "files.parquet").field("size").type) == "int64"
    lineage = pq.read_table(tmp_path / "lineage.parquet").to_pylist()
    assert lineage
    assert all(SAID[row["start_char"] : row["end_char"]] == row["quote"] for row in lineage)


def test_json_lines_nest_what_is_json(engine: Engine, profile: str, tmp_path: Path) -> None:
    export(engine, tmp_path, Format.JSONL)
    (document,) = lines(tmp_path / "documents.jsonl")
    assert document["metadata"] == {"source": "survey", "metadata": METADATA}
    assert (document["occurred_at"], document["superseded_at"]) == ("2024-06-01T12:30:15.250000Z", None)
    assert document["text"] == SAID


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\r=1", '=HYPERLINK("http://x","y")'])
def test_no_cell_of_a_csv_is_a_formula(engine: Engine, profile: str, tmp_path: Path, cell: str) -> None:
    with engine.begin() as connection:
        connection.execute(update(Profile).values(display_name=cell))
    export(engine, tmp_path, Format.CSV)
    profiles = cells(tmp_path / "profiles.csv")
    assert {row["display_name"] for row in profiles} == {f"'{cell}"}
    assert {row["external_id"] for row in profiles} == {"'-1+1", "crm-1"}
    assert {row["bucket"].lstrip("0123456789") for row in profiles} == {""}
    (document,) = cells(tmp_path / "documents.csv")
    assert (document["text"], document["superseded_at"]) == (SAID, "")


def test_no_file_is_half_written_and_an_older_one_is_replaced(engine: Engine, profile: str, tmp_path: Path) -> None:
    directory = tmp_path / "export"
    directory.mkdir()
    (directory / "profiles.csv").write_text("old")
    written = export_tables(engine, directory, Format.CSV, LogProgress(lambda _: None))
    next(iter(written))
    assert len(cells(directory / "profiles.csv")) == 2
    assert [path.name for path in directory.iterdir()] == ["profiles.csv"]


def test_all_files_are_of_one_moment(engine: Engine, profile: str, tmp_path: Path) -> None:
    """What comes in while it runs is in none of them."""
    written = export_tables(engine, tmp_path, Format.JSONL, LogProgress(lambda _: None))
    next(iter(written))
    create_profile(engine, "late")
    with engine.begin() as connection:
        connection.execute(update(DocumentRow).values(text="changed"))
    list(written)
    assert [row["text"] for row in lines(tmp_path / "documents.jsonl")] == [SAID]


def test_rows_come_in_chunks(engine: Engine, profile: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export(engine, tmp_path / "at once", Format.CSV)
    monkeypatch.setattr(exporting, "CHUNK", 1)
    written = export(engine, tmp_path / "one by one", Format.CSV)
    assert written["evidence"].rows > 1
    for name in TABLES:
        assert _sorted(cells(tmp_path / "one by one" / f"{name}.csv")) == _sorted(
            cells(tmp_path / "at once" / f"{name}.csv")
        )


def _sorted(rows: Iterable[dict[str, str]]) -> list[list[tuple[str, str]]]:
    return sorted(sorted(row.items()) for row in rows)


def test_a_folder_that_cannot_be_written_is_named(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"cannot write to .*file/below: Not a directory; choose another"):
        export(engine, tmp_path / "file" / "below", Format.CSV)


def test_one_person_is_everything_in_the_shapes_of_the_api(engine: Engine, profile: str) -> None:
    decided = set_summary(Editor(engine, load_traits(None), "kim", Via.API), profile, "Our oldest customer.")
    person = export_person(engine, profile)
    assert person["edits"] == [edit_json(decided.edits[0])]
    assert (person["profile"]["id"], person["profile"]["externalId"]) == (profile, "crm-1")
    assert {trait["key"] for trait in person["traits"]} >= {"location", "interests"}
    assert [message["content"] for message in person["messages"]] == [SAID]
    (document,) = person["documents"]
    assert (document["text"], document["metadata"]) == (SAID, {"source": "survey", "metadata": METADATA})
    facts = {fact["id"] for fact in (*person["traits"], *person["memories"])}
    assert {proof["factId"] for proof in person["evidence"]} == facts
    with engine.connect() as connection:
        assert len(person["evidence"]) == connection.execute(select(func.count()).select_from(Evidence)).scalar_one()
    json.dumps(person)
    with pytest.raises(ProfileNotFound):
        export_person(engine, "00000000-0000-4000-8000-000000000000")
