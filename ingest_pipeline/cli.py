"""The command line, ``ingest``. Exit codes: 0 done, 1 some documents failed, 2 usage or configuration error."""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console
from sqlalchemy.exc import DBAPIError

from ingest_pipeline.console import OutputConsole, tolerate_any_encoding, write
from ingest_pipeline.documents import Json, Source
from ingest_pipeline.errors import ConfigurationError, IngestError, ProfileNotFound
from ingest_pipeline.exits import FAILED, INTERRUPTED, USAGE, explain
from ingest_pipeline.settings import Settings, load_settings
from ingest_pipeline.store.extractions import Reextract

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from ingest_pipeline.pipeline import Pipeline

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="CRM exports, mailboxes and chat archives become user profiles, each fact with the sentence that proves it.",
)
db = typer.Typer(no_args_is_help=True, help="The database.")
app.add_typer(db, name="db")
batches = typer.Typer(no_args_is_help=True, help="What `ingest sync --batch` handed in at the provider.")
app.add_typer(batches, name="batch")

console = OutputConsole()
errors = Console(stderr=True)

AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable output on stdout.")]
Profile = Annotated[
    str, typer.Argument(metavar="PROFILE", help="A profile id, an external id, or an identifier such as alex@acme.com.")
]
Looked = Annotated[
    str, typer.Argument(metavar="PROFILE", help="A profile id or its first characters, an external id or identifier.")
]
Sources = Annotated[list[Source] | None, typer.Option("--source", help="Only this source; may be given several times.")]


def main() -> None:
    """The entry point: errors raised on purpose end in one line and exit code 2."""
    tolerate_any_encoding()
    try:
        app()
    except (IngestError, DBAPIError) as error:
        message, code = explain(error)
        _complain(message)
        sys.exit(code)


def _complain(message: str) -> None:
    errors.print(f"error: {message}", style="red", markup=False, highlight=False, soft_wrap=True)


def _say(message: str, style: str | None = None) -> None:
    """One line, as it is."""
    console.print(message, style=style, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def _opened() -> Iterator["Pipeline"]:
    from ingest_pipeline.pipeline import open_pipeline

    pipeline = open_pipeline(load_settings())
    try:
        yield pipeline
    finally:
        pipeline.close()


@contextmanager
def _store() -> Iterator["Engine"]:
    """The database alone: looking needs neither a trait schema nor a model."""
    from ingest_pipeline.store.engine import open_engine

    engine = open_engine(load_settings().database_url)
    try:
        yield engine
    finally:
        engine.dispose()


def _print_json(value: Json) -> None:
    write(json.dumps(value, ensure_ascii=False, indent=2, default=str) + "\n")


# -- running -----------------------------------------------------------------------------------------------------------


@app.command()
def demo(as_json: AsJson = False) -> None:
    """Write a sample inbox, sync it, and show what it found. Needs no key and no network."""
    from ingest_pipeline.demo.start import write_inbox

    # The demo's own defaults; database and folders are those of the settings.
    os.environ["INGEST_MODEL"] = "offline"
    settings = load_settings()
    write_inbox(settings)
    if not as_json:
        _say(f"A sample inbox is in {settings.inbox}")
    code = _sync(settings, {}, as_json)
    if not as_json and code != USAGE:
        _show_examples()
    raise typer.Exit(code)


def _show_examples() -> None:
    from ingest_pipeline.demo.inbox import make_cast
    from ingest_pipeline.store.facts import load_facts
    from ingest_pipeline.store.lookup import find_profile
    from ingest_pipeline.terminal import show_profile

    person = make_cast(7, 1)[0].email
    with _store() as engine:
        show_profile(console, load_facts(engine, find_profile(engine, person)))
    _say("Go on with:", style="bold")
    for command in ("ingest profiles", f"ingest show {person}", f"ingest why {person} location", "ingest status"):
        _say(f"  {_here(command)}")
    _say("or `make dev`, which opens the Dagster UI.")


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
        _estimate(settings, as_json, sources, profile or [], reextract)
        return
    if batch and settings.model == "offline":
        raise ConfigurationError("INGEST_MODEL=offline has no batch API; set INGEST_MODEL, or leave out --batch")
    open_inbox(settings.inbox)
    targets: dict[str, Json] = {"reextract": reextract.value, "sources": [s.value for s in sources]}
    if profile:
        targets["profiles"] = _resolve(profile)
    ops = {
        "sync_op": {"config": {"sources": [s.value for s in FOLDERS if not sources or s in sources]}},
        "submit_op" if batch else "extract_op": {"config": targets},
    }
    raise typer.Exit(_sync(settings, {"ops": ops}, as_json, "batch_submit" if batch else "nightly_sync"))


def _estimate(
    settings: Settings, as_json: bool, sources: list[Source], profiles: list[str], reextract: Reextract
) -> None:
    from ingest_pipeline.estimating import estimate_pending
    from ingest_pipeline.extraction.traits import load_traits
    from ingest_pipeline.pipeline import open_extractor
    from ingest_pipeline.store.extractions import Selection
    from ingest_pipeline.terminal import show_estimate

    ids = _resolve(profiles) if profiles else []
    with _store() as engine:
        extractor = open_extractor(settings, load_traits(settings.traits), engine)
        selection = Selection(extractor.fingerprint, reextract, frozenset(sources), frozenset(ids))
        extractor.close()
        estimate = estimate_pending(engine, settings, selection)
    if as_json:
        _print_json(asdict(estimate))
    else:
        show_estimate(console, estimate)


def _resolve(profiles: list[str]) -> list[str]:
    """Profile ids: run config is kept for good, so no e-mail address may stand in it."""
    from ingest_pipeline.store.lookup import find_profile

    with _store() as engine:
        return [find_profile(engine, reference) for reference in profiles]


def _sync(settings: Settings, run_config: dict[str, Json], as_json: bool, job: str = "nightly_sync") -> int:
    """Run the nightly job, or another one, in this process; the exit code."""
    from ingest_pipeline.launch import prepare_dagster_home
    from ingest_pipeline.store.overview import load_overview
    from ingest_pipeline.terminal import BarProgress, sync_table

    # What would fail in the run fails here, with one line.
    with _opened() as pipeline:
        prepare_dagster_home(settings)
        from ingest_pipeline.definitions import run_job

        with BarProgress(errors) as progress:
            outcome = run_job(job, run_config, progress, _interrupted)
        overview = load_overview(pipeline.engine)
    done = outcome.success or outcome.failed_step == "verdict_op"
    if as_json:
        _print_json({"run": asdict(outcome), "status": asdict(overview)})
    elif done:
        console.print(sync_table(outcome.metadata))
        _say(f"{overview.profiles:,} profiles with {overview.traits:,} traits and {overview.memories:,} memories")
        unknown = sum(values.get("files_unrecognised", 0) for values in outcome.metadata.values())
        if unknown:
            _say(f"{unknown:,} files are in no known format; `ingest status` lists them")
        _say(f"Dagster run {outcome.run_id}", style="dim")
    if outcome.success:
        return 0
    if not done:
        _complain(f"stopped half-way in {outcome.failed_step or 'the run'}; what was stored until then is kept")
    _complain(outcome.failure or "the run failed")
    return FAILED if outcome.crashed or outcome.failed_step == "verdict_op" else USAGE


def _interrupted() -> NoReturn:
    """Ctrl-C: end at once, without waiting for threads. Whatever is half-way is rolled back."""
    _complain("interrupted; what was stored is kept, the next sync goes on from there")
    os._exit(INTERRUPTED)


@batches.command()
def poll(as_json: AsJson = False) -> None:
    """Ask the provider how far the batches are, and collect those that ended."""
    from ingest_pipeline.batching import is_due, refresh
    from ingest_pipeline.extraction.batch import open_batch_extractor
    from ingest_pipeline.extraction.traits import load_traits
    from ingest_pipeline.terminal import batches_table

    settings = load_settings()
    with _store() as engine:
        extractor = open_batch_extractor(settings, load_traits(settings.traits), engine)
        try:
            polled = refresh(extractor)
        finally:
            extractor.close()
    if any(is_due(one) for one in polled):
        raise typer.Exit(_sync(settings, {}, as_json, "batch_collect"))
    if as_json:
        _print_json([asdict(one.batch) | {"note": one.note} for one in polled])
    else:
        console.print(batches_table(polled) if polled else "no batch is under way")


@app.command()
def retry(as_json: AsJson = False) -> None:
    """Try the failed documents again, and whatever else is pending. Reads no files."""
    settings = load_settings()
    raise typer.Exit(_sync(settings, {"ops": {"sync_op": {"config": {"sources": []}}}}, as_json))


@app.command()
def text(
    profile: Profile,
    dash: Annotated[str | None, typer.Argument(metavar="[-]", help="- reads the text from stdin.")] = None,
    data: Annotated[str | None, typer.Option(help="The text.")] = None,
    file: Annotated[Path | None, typer.Option(help="A file with the text.")] = None,
    source: Annotated[str | None, typer.Option(help="Where it comes from, in your own words.")] = None,
    metadata: Annotated[str | None, typer.Option(help="A JSON object kept with the text.")] = None,
    traits: Annotated[bool, typer.Option("--traits/--no-traits")] = True,
    memories: Annotated[bool, typer.Option("--memories/--no-memories")] = True,
    create: Annotated[
        bool, typer.Option("--create", help="Make a profile with this external id if there is none.")
    ] = False,
) -> None:
    """Ingest one text about a profile and print the ingest endpoint's answer, or its error body, as JSON."""
    from ingest_pipeline.direct import TextRequest, check_request, ingest_text
    from ingest_pipeline.given import given_metadata, given_text
    from ingest_pipeline.wire import error_json, text_result_json

    try:
        request = TextRequest(given_text(data, file, dash), source, given_metadata(metadata), traits, memories)
        check_request(request)
        with _opened() as pipeline:
            result = ingest_text(pipeline, _find_or_create(pipeline.engine, profile, create), request)
    except IngestError as error:
        _print_json(error_json(error))
        raise
    _print_json(text_result_json(result, request))


def _find_or_create(engine: "Engine", reference: str, create: bool) -> str:
    from ingest_pipeline.store.direct import create_profile
    from ingest_pipeline.store.lookup import find_profile

    try:
        return find_profile(engine, reference)
    except ProfileNotFound:
        if not create:
            raise
        return create_profile(engine, reference)


# -- looking -----------------------------------------------------------------------------------------------------------


@app.command()
def profiles(
    search: Annotated[str, typer.Option(help="Part of a name, external id or identifier.")] = "",
    ambiguous: Annotated[bool, typer.Option("--ambiguous", help="Identifiers that several people claim.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50,
    offset: Annotated[int, typer.Option(min=0)] = 0,
    as_json: AsJson = False,
) -> None:
    """List profiles."""
    from ingest_pipeline.store.lookup import list_ambiguous, list_profiles
    from ingest_pipeline.terminal import ambiguous_table, profiles_table

    with _store() as engine:
        if ambiguous:
            shared = list_ambiguous(engine)
            if as_json:
                _print_json([asdict(one) for one in shared])
            elif shared:
                console.print(ambiguous_table(shared))
            else:
                _say("No identifier is claimed by several people.")
            return
        found, total = list_profiles(engine, search, limit, offset)
    if as_json:
        _print_json({"profiles": [asdict(p) for p in found], "total": total})
        return
    if found:
        console.print(profiles_table(found, console.width))
    _say(f"{len(found):,} of {total:,}" + (" that match" if search.strip() else ""))


@app.command()
def show(profile: Looked, as_json: AsJson = False) -> None:
    """Show a profile: its traits, memories, earlier values, and a sentence behind each."""
    from ingest_pipeline import wire
    from ingest_pipeline.store.facts import load_facts
    from ingest_pipeline.store.lookup import find_profile
    from ingest_pipeline.terminal import show_profile

    with _store() as engine:
        facts = load_facts(engine, find_profile(engine, profile, by_start=True))
    if as_json:
        _print_json(
            {
                "profile": wire.profile_json(facts) | {"name": facts.name, "identifiers": facts.identifiers},
                "traits": [wire.trait_json(fact, facts.id) for fact in facts.traits],
                "memories": [wire.memory_json(fact, facts.id) for fact in facts.memories],
                "history": [wire.past_json(past) for past in facts.history],
            }
        )
    else:
        show_profile(console, facts)


@app.command()
def why(
    profile: Looked,
    fact: Annotated[str, typer.Argument(metavar="TRAIT_KEY|MEMORY_ID", help="As `ingest show` lists them.")],
    as_json: AsJson = False,
) -> None:
    """Show what proves a trait or memory: quote, place in the document, source, record and file."""
    from ingest_pipeline import wire
    from ingest_pipeline.store.facts import load_fact
    from ingest_pipeline.store.lookup import find_profile
    from ingest_pipeline.terminal import show_why

    with _store() as engine:
        profile_id = find_profile(engine, profile, by_start=True)
        found, history = load_fact(engine, profile_id, fact)
    if as_json:
        shape = wire.trait_json if found.kind == "trait" else wire.memory_json
        _print_json(
            {
                found.kind: shape(found, profile_id),
                "evidence": [wire.lineage_json(proof) for proof in found.proofs],
                "history": [wire.past_json(past) for past in history],
            }
        )
    else:
        show_why(console, found, history)


@app.command()
def status(as_json: AsJson = False) -> None:
    """Show what is in the store, what is pending and will cost, what failed and was rejected, and what was spent."""
    from ingest_pipeline.batching import open_batches
    from ingest_pipeline.estimating import estimate_pending, load_last_minute
    from ingest_pipeline.store.overview import load_overview
    from ingest_pipeline.terminal import show_estimate, show_last_minute, show_overview

    settings = load_settings()
    with _store() as engine:
        overview, last_minute, under_way = load_overview(engine), load_last_minute(engine), open_batches(engine)
        try:
            estimate, trouble = estimate_pending(engine, settings), None
        except ConfigurationError as error:  # looking goes on with wrong settings: it may show what is wrong
            estimate, trouble = None, str(error)
    if as_json:
        more = {"last_minute": asdict(last_minute), "estimate": asdict(estimate) if estimate else {"error": trouble}}
        _print_json(asdict(overview) | more | {"batches": [asdict(batch) for batch in under_way]})
        return
    show_overview(console, overview)
    show_last_minute(console, last_minute, under_way)
    if estimate and estimate.documents:
        show_estimate(console, estimate)
    if trouble:
        _say(f"no estimate: {trouble}")


@db.command()
def upgrade() -> None:
    """Bring the database to the current schema."""
    from ingest_pipeline.store.engine import HEAD_REVISION, create_store_engine
    from ingest_pipeline.store.engine import upgrade as upgrade_schema

    engine = create_store_engine(load_settings().database_url)
    upgrade_schema(engine)
    engine.dispose()
    _say(f"The database is at revision {HEAD_REVISION}.")
