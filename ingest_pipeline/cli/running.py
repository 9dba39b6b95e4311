"""Commands that start a run: ``demo``, ``sync``, ``retry``, ``batch poll``."""

import os
import shutil
import sys
from dataclasses import asdict
from typing import Annotated, NoReturn

import typer

from ingest_pipeline.cli.app import (
    AsJson,
    Sources,
    app,
    complain,
    console,
    errors,
    open_store,
    opened,
    past_retention,
    print_json,
    resolve,
    say,
    say_retention,
    say_summaries,
)
from ingest_pipeline.documents import Json, Source
from ingest_pipeline.errors import ConfigurationError, NoDatabase
from ingest_pipeline.exits import FAILED, INTERRUPTED, USAGE
from ingest_pipeline.settings import Settings, load_settings
from ingest_pipeline.store.extractions import Reextract

batches = typer.Typer(no_args_is_help=True, help="What `ingest sync --batch` handed in at the provider.")
app.add_typer(batches, name="batch")


@app.command()
def demo(as_json: AsJson = False) -> None:
    """Write a sample inbox, sync it, and show what it found. Needs no key and no network."""
    from ingest_pipeline.demo.start import write_inbox

    # The demo's own defaults; database and folders are those of the settings.
    os.environ["INGEST_MODEL"] = "offline"
    for variable in ("INGEST_IMAP_URL", "INGEST_SUMMARY"):
        os.environ.pop(variable, None)
    settings = load_settings()
    write_inbox(settings)
    if not as_json:
        say(f"A sample inbox is in {settings.inbox}")
    code = _sync(settings, {}, as_json)
    if not as_json and code != USAGE:
        _show_examples()
    raise typer.Exit(code)


def _show_examples() -> None:
    from ingest_pipeline.demo.inbox import make_cast
    from ingest_pipeline.store.facts import load_facts
    from ingest_pipeline.store.lookup import find_profile
    from ingest_pipeline.terminal_facts import show_profile

    person = make_cast(7, 1)[0].email
    with open_store() as engine:
        show_profile(console, load_facts(engine, find_profile(engine, person)))
    say("Go on with:", style="bold")
    for command in ("ingest profiles", f"ingest show {person}", f"ingest why {person} location", "ingest status"):
        say(f"  {_here(command)}")
    say(f"  {_here('ingest serve')}    shows all of it in a browser, on http://localhost:8000")
    say("or `make dev`, which opens the Dagster UI.")


def _here(command: str) -> str:
    """The command as it can be typed here: with its path when it is not on PATH."""
    return command if shutil.which("ingest") else command.replace("ingest", os.path.relpath(sys.argv[0]), 1)


@app.command()
def sync(
    source: Sources = None,
    profile: Annotated[list[str] | None, typer.Option("--profile", help="Extract only these profiles.")] = None,
    reextract: Annotated[
        Reextract, typer.Option(help="missing: never done or failed; stale: also another model, prompt or schema; all.")
    ] = Reextract.MISSING,
    batch: Annotated[
        bool, typer.Option("--batch", help="Hand in at the provider's batch API: half the price, within a day.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read and call nothing; estimate what the pending work takes.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Read what is new in the inbox, extract what is pending, rebuild the profiles that changed."""
    from ingest_pipeline.sources.inbox import FOLDERS, open_inbox

    settings = load_settings()
    sources = source or []
    if dry_run:
        try:
            _estimate(settings, as_json, sources, profile or [], reextract)
        except NoDatabase as none:
            free = "with INGEST_MODEL=offline it costs nothing, and --dry-run then tells what a model would take"
            raise ConfigurationError(f"{none}; {free}") from None
        return
    if batch and settings.model == "offline":
        raise ConfigurationError("INGEST_MODEL=offline has no batch API; set INGEST_MODEL, or leave out --batch")
    strangers = open_inbox(settings.inbox).strangers()
    targets: dict[str, Json] = {"reextract": reextract.value, "sources": [s.value for s in sources]}
    if profile:
        targets["profiles"] = resolve(profile)
    ops = {
        "sync_op": {"config": {"sources": [s.value for s in FOLDERS if not sources or s in sources]}},
        "submit_op" if batch else "extract_op": {"config": targets},
    }
    code = _sync(settings, {"ops": ops}, as_json, "batch_submit" if batch else "nightly_sync")
    if strangers and not as_json:
        more = f" and {len(strangers) - 5:,} more" if len(strangers) > 5 else ""
        say(f"Only crm/, email/ and chat/ are read, not {', '.join(strangers[:5])}{more} beside them")
    raise typer.Exit(code)


def _estimate(
    settings: Settings, as_json: bool, sources: list[Source], profiles: list[str], reextract: Reextract
) -> None:
    from ingest_pipeline.estimating import estimate_pending
    from ingest_pipeline.extraction.traits import load_traits
    from ingest_pipeline.pipeline import open_extractor
    from ingest_pipeline.store.extractions import Selection
    from ingest_pipeline.terminal import show_estimate, show_stale

    ids = resolve(profiles) if profiles else []
    with open_store() as engine:
        extractor = open_extractor(settings, load_traits(settings.traits), engine)
        selection = Selection(extractor.fingerprint, reextract, frozenset(sources), frozenset(ids))
        extractor.close()
        estimate = estimate_pending(engine, settings, selection)
        past = past_retention(engine, settings)
    if as_json:
        print_json(asdict(estimate) | {"retention": past})
    else:
        show_estimate(console, estimate)
        show_stale(console, estimate)
        say("files that no sync has read yet are not counted", style="dim")
        say_retention(past)


def _sync(settings: Settings, run_config: dict[str, Json], as_json: bool, job: str = "nightly_sync") -> int:
    """Run the nightly job, or another one, in this process; the exit code."""
    from ingest_pipeline.launch import prepare_dagster_home
    from ingest_pipeline.store.overview import load_overview
    from ingest_pipeline.terminal import BarProgress, sync_table

    # What would fail in the run fails here, with one line.
    with opened() as pipeline:
        prepare_dagster_home(settings)
        from ingest_pipeline.definitions import run_job

        with BarProgress(errors) as progress:
            outcome = run_job(job, run_config, progress, _interrupted)
        overview = load_overview(pipeline.engine)
    done = outcome.success or outcome.failed_step == "verdict_op"
    if as_json:
        print_json({"run": asdict(outcome), "status": asdict(overview)})
    elif done:
        read = sync_table(outcome.metadata)
        if read.row_count:
            console.print(read)
        say(f"{overview.profiles:,} profiles with {overview.traits:,} traits and {overview.memories:,} memories")
        unknown = sum(values.get("files_unrecognised", 0) for values in outcome.metadata.values())
        if unknown:
            files = "1 file is" if unknown == 1 else f"{unknown:,} files are"
            say(f"{files} of no format that is read from there; `ingest status` lists them")
        say_summaries(outcome.metadata.get("profiles", {}))
        expired = sum(values.get("documents_expired", 0) for values in outcome.metadata.values())
        if expired:
            say(f"{expired:,} documents were past their retention and are erased")
        say(f"Dagster run {outcome.run_id}", style="dim")
    if outcome.success:
        return 0
    if not done:
        complain(f"stopped half-way in {outcome.failed_step or 'the run'}; what was stored until then is kept")
    complain(outcome.failure or "the run failed")
    return FAILED if outcome.crashed or outcome.failed_step == "verdict_op" else USAGE


def _interrupted() -> NoReturn:
    """Ctrl-C: end at once, without waiting for threads. Whatever is half-way is rolled back."""
    complain("interrupted; what was stored is kept, the next sync goes on from there")
    os._exit(INTERRUPTED)


@batches.command()
def poll(as_json: AsJson = False) -> None:
    """Ask the provider how far the batches are, and collect those that ended."""
    from ingest_pipeline.batching import is_due, refresh
    from ingest_pipeline.extraction.batch import open_batch_extractor
    from ingest_pipeline.extraction.traits import load_traits
    from ingest_pipeline.terminal import batches_table

    settings = load_settings()
    with open_store() as engine:
        extractor = open_batch_extractor(settings, load_traits(settings.traits), engine)
        try:
            polled = refresh(extractor)
        finally:
            extractor.close()
    if any(is_due(one) for one in polled):
        raise typer.Exit(_sync(settings, {}, as_json, "batch_collect"))
    if as_json:
        print_json([asdict(one.batch) | {"note": one.note} for one in polled])
    else:
        console.print(batches_table(polled) if polled else "no batch is under way")


@app.command()
def retry(as_json: AsJson = False) -> None:
    """Try the failed documents again, also those given up, and whatever else is pending. Reads no files."""
    settings = load_settings()
    ops: dict[str, Json] = {"sync_op": {"config": {"sources": []}}, "extract_op": {"config": {"given_up": True}}}
    raise typer.Exit(_sync(settings, {"ops": ops}, as_json))
