"""``ingest forget``: a person goes, or may come back."""

import os
import sys
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.table import Column, Table

from ingest_pipeline.cli.app import (
    AsJson,
    By,
    Profile,
    actor,
    app,
    complain,
    console,
    errors,
    open_store,
    print_json,
    say,
)
from ingest_pipeline.errors import ConfigurationError, ProfileNotFound
from ingest_pipeline.exits import FAILED
from ingest_pipeline.settings import PartitionBy, Settings, load_settings

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from ingest_pipeline.erasing import Forgotten, Preview


@app.command()
def forget(
    profile: Profile,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask; with --json nothing goes without it.")] = False,
    returning: Annotated[
        bool, typer.Option("--allow-return", help="Erase nothing: let an erased person be stored again.")
    ] = False,
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Erase a person for good, also from other people's texts, and prove that nothing is left; or let one return."""
    settings = load_settings()
    with open_store() as engine:
        if returning:
            _allow_return(engine, profile, as_json)
            return
        done = _forget(engine, settings, profile, yes, by, as_json)
        if done is None:
            return
        _remove_partitions(engine, settings)
    if as_json:
        print_json({"done": True, "clean": done.clean, **asdict(done)})
    else:
        _show(done)
    if not done.clean:
        complain("something of the person is left, see above; run the command again once nothing else is running")
        raise typer.Exit(FAILED)


def _forget(
    engine: "Engine", settings: Settings, reference: str, yes: bool, by: str | None, as_json: bool
) -> "Forgotten | None":
    """What was done; None when it was not agreed to."""
    from ingest_pipeline.erasing import forget, preview, prove_again, searched_folders
    from ingest_pipeline.extraction.traits import load_traits
    from ingest_pipeline.folding import fold_profiles
    from ingest_pipeline.store.audit_log import Via
    from ingest_pipeline.store.lookup import find_profile
    from ingest_pipeline.terminal import BarProgress

    folders = searched_folders(settings)
    try:
        profile_id = find_profile(engine, reference)
    except ProfileNotFound:
        with BarProgress(errors) as progress:
            finished = prove_again(engine, reference, progress, folders)
        if finished is None:
            raise
        return finished
    if not _agreed(preview(engine, profile_id), profile_id, yes, as_json):
        return None
    refold = partial(fold_profiles, engine, load_traits(settings.traits), rules=settings.fold_rules())
    with BarProgress(errors) as progress:
        return forget(engine, profile_id, refold, actor(by), Via.CLI, progress, folders)


def _agreed(found: "Preview", profile_id: str, yes: bool, as_json: bool) -> bool:
    """Show what would go and ask. A script that neither says --yes nor reads JSON gets an error."""
    if as_json:
        if not yes:
            print_json({"done": False, "profile": profile_id, **asdict(found)})
        return yes
    console.print(_counts_table({"goes": found.counts}))
    if found.namesakes:
        say(
            f"{found.namesakes:,} others have the same name: it stays in texts, since nobody can say who is meant. "
            "`ingest profiles --search` lists them; forget them too if they are the same person."
        )
    if yes:
        return True
    if not sys.stdin.isatty():
        raise ConfigurationError("nobody is here to answer; add --yes to do it")
    errors.print("Erase all of it for good, and the person in other people's texts? [y/N] ", end="", markup=False)
    if input().strip().lower() in ("y", "yes"):
        return True
    say("Nothing was changed.")
    return False


def _remove_partitions(engine: "Engine", settings: Settings) -> None:
    """Only where there is something of Dagster: it takes a second to import."""
    from ingest_pipeline.launch import prepare_dagster_home

    home = Path(os.environ.get("DAGSTER_HOME") or settings.dagster_home).expanduser()
    if settings.partition_by is PartitionBy.PROFILE and home.is_dir():
        prepare_dagster_home(settings)
        from ingest_pipeline.definitions import remove_partitions

        remove_partitions(engine)


def _allow_return(engine: "Engine", reference: str, as_json: bool) -> None:
    from ingest_pipeline.store.erased import allow_return

    lifted = allow_return(engine, reference)
    if as_json:
        print_json({"returning": True, "marks_removed": lifted})
    else:
        say("This person may be stored again. The next sync reads the whole inbox once more, and finds them there.")


def _show(done: "Forgotten") -> None:
    if done.profile_id is None:
        say("This person was erased before. What could still be done:")
    else:
        console.print(_counts_table({"erased": done.erased, "blanked in others'": done.blanked}))
    table = Table("Looked through", *_right("Rows or bytes", "Identifiers", "Texts"), box=box.SIMPLE)
    clean = [scan for scan in done.proof if scan.table and scan.clean]
    table.add_row(f"{len(clean)} tables of the database", f"{sum(scan.size for scan in clean):,}", "0", "0")
    for scan in done.proof:
        if scan not in clean:
            table.add_row(scan.place, f"{scan.size:,}", f"{scan.identifiers:,}", f"{scan.texts:,}")
    console.print(table)
    if done.clean:
        say("Nothing of the person is left there. Files of the inbox, exports and backups are yours to clean.")


def _counts_table(columns: Mapping[str, Mapping[str, int]]) -> Table:
    table = Table("Table", *_right(*columns), box=box.SIMPLE)
    for name in sorted({name for counts in columns.values() for name, n in counts.items() if n}):
        table.add_row(name, *(f"{counts.get(name, 0):,}" for counts in columns.values()))
    return table


def _right(*names: str) -> list[Column]:
    return [Column(name, justify="right") for name in names]
