"""``ingest export``: tables for other programs, or one person's data."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.table import Column, Table

from ingest_pipeline.cli.app import AsJson, By, app, console, errors, open_store, print_json, record_read, say
from ingest_pipeline.errors import ConfigurationError
from ingest_pipeline.exporting import Format


@app.command()
def export(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where the files go; made if it is missing.")],
    to: Annotated[Format, typer.Option("--format", help="Of the tables; one person is always JSON.")] = Format.PARQUET,
    profile: Annotated[str | None, typer.Option("--profile", help="Only this person, everything there is.")] = None,
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Write the tables with their lineage as Parquet, CSV or JSON Lines, or one person's data as JSON."""
    if profile is not None:
        path = _export_person(directory, profile, by)
        if as_json:
            print_json({"path": str(path)})
        else:
            say(f"{path}")
        return
    from ingest_pipeline.exporting import export_tables
    from ingest_pipeline.store.audit_log import Audited
    from ingest_pipeline.terminal import BarProgress

    with open_store() as engine, BarProgress(errors) as progress:
        record_read(engine, by, Audited.EXPORT, None, format=to.value)
        written = list(export_tables(engine, directory, to, progress))
    if as_json:
        print_json([asdict(one) for one in written])
    else:
        table = Table("Table", Column("Rows", justify="right"), "File", box=box.SIMPLE)
        for one in written:
            table.add_row(one.table, f"{one.rows:,}", str(one.path))
        console.print(table)


def _export_person(directory: Path, profile: str, by: str | None) -> Path:
    from ingest_pipeline.exporting import export_person
    from ingest_pipeline.store.audit_log import Audited
    from ingest_pipeline.store.lookup import find_profile

    with open_store() as engine:
        profile_id = find_profile(engine, profile)
        exported = export_person(engine, profile_id)
        record_read(engine, by, Audited.EXPORT, profile_id, format="json")
    path = directory / f"{profile_id}.json"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(exported, ensure_ascii=False, indent=2), encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}: {error.strerror}; choose another folder") from None
    return path
