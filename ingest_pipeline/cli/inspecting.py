"""``ingest inspect``: what files hold and what would be rejected, before anything is imported."""

from dataclasses import asdict
from typing import Annotated

import typer

from ingest_pipeline.cli.app import AsJson, app, complain, console, errors, print_json
from ingest_pipeline.exits import FAILED, USAGE
from ingest_pipeline.settings import load_settings


@app.command()
def inspect(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Files, folders of files that belong together, fsspec URLs.")
    ],
    all_rejections: Annotated[bool, typer.Option("--all", help="List every rejection, not the first 20.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say what files are and what is in them, what would be rejected and what looks wrong. Writes nothing."""
    from ingest_pipeline.inspecting import SHOWN_REJECTIONS
    from ingest_pipeline.inspecting import inspect as inspect_files
    from ingest_pipeline.sources import registry
    from ingest_pipeline.terminal import BarProgress
    from ingest_pipeline.terminal_inspecting import show_report

    settings = load_settings()
    with BarProgress(errors) as progress:
        progress.start("inspecting", None)
        report = inspect_files(
            files,
            settings.inbox,
            settings.read_options(),
            None if all_rejections else SHOWN_REJECTIONS,
            lambda _name, units: progress.advance(units),
        )
    if as_json:
        known = [{"format": reader.format, "source": reader.source.value} for reader in registry.READERS]
        print_json(
            {
                "exports": [export.to_json() for export in report.exports],
                "unknown": [asdict(unknown) for unknown in report.unknown],
                "wrong_settings": [{"file": file, "why": why} for file, why in report.wrong_settings.items()],
                "formats": known,
            }
        )
    else:
        show_report(console, report)
    if report.is_unknown:
        complain("of no known format" if report.unknown else "there is no file to inspect")
        raise typer.Exit(USAGE)
    if report.is_rejected:
        raise typer.Exit(FAILED)
