"""The command line, ``ingest``. Exit codes: 0 done, 1 some documents failed, 2 usage or configuration error."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console

from ingest_pipeline.documents import Json, Source
from ingest_pipeline.errors import ConfigurationError, ExtractionError, IngestError, InvalidInput
from ingest_pipeline.settings import Settings, load_settings
from ingest_pipeline.store.extractions import Reextract

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from ingest_pipeline.pipeline import Pipeline

FAILED, USAGE = 1, 2

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="CRM exports, mailboxes and chat archives become user profiles, each fact with the sentence that proves it.",
)
db = typer.Typer(no_args_is_help=True, help="The database.")
app.add_typer(db, name="db")

console = Console()
errors = Console(stderr=True)

AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable output on stdout.")]
Profile = Annotated[str, typer.Argument(help="A profile id, an external id, or an identifier such as alex@acme.com.")]
Sources = Annotated[list[Source] | None, typer.Option("--source", help="Only this source; may be given several times.")]


def main() -> None:
    """The entry point: errors raised on purpose end in one line and exit code 2."""
    try:
        app()
    except ExtractionError as error:
        _stop(error, FAILED)
    except IngestError as error:
        _stop(error, USAGE)
    except BrokenPipeError:
        # Someone closed the pipe, as `| head` does; the interpreter must not complain about it on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _stop(error: IngestError, code: int) -> NoReturn:
    name = f" ({error.code})" if isinstance(error, InvalidInput) else ""
    errors.print(f"error: {error}{name}", style="red", markup=False, highlight=False, soft_wrap=True)
    sys.exit(code)


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
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2, default=str) + "\n")


# -- running -----------------------------------------------------------------------------------------------------------


@app.command()
def demo(as_json: AsJson = False) -> None:
    """Write a sample inbox, sync it, and show what it found. Needs no key and no network."""
    from ingest_pipeline.demo.inbox import ANSWER_KEY, generate

    # The demo's own defaults; database and folders are those of the settings.
    os.environ["INGEST_MODEL"] = "offline"
    settings = load_settings()
    inbox = Path(settings.inbox)
    if inbox.is_dir() and any(inbox.iterdir()) and not (inbox / ANSWER_KEY).exists():
        raise ConfigurationError(
            f"the inbox {inbox} holds files of your own; run the demo elsewhere: INGEST_HOME=.demo ingest demo"
        )
    generate(inbox)
    if not as_json:
        console.print(f"A sample inbox is in {inbox}", highlight=False)
    code = _sync(settings, {}, as_json)
    if not as_json:
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
    console.print("Go on with:", style="bold")
    for command in ("ingest profiles", f"ingest show {person}", f"ingest why {person} job_title", "ingest status"):
        console.print(f"  {command}", highlight=False)
    console.print("or `make dev`, which opens the Dagster UI.")


@app.command()
def sync(
    source: Sources = None,
    profile: Annotated[list[str] | None, typer.Option("--profile", help="Extract only these profiles.")] = None,
    reextract: Annotated[
        Reextract, typer.Option(help="missing: never done or failed; stale: also another model, prompt or schema; all.")
    ] = Reextract.MISSING,
    as_json: AsJson = False,
) -> None:
    """Read what is new in the inbox, extract what is pending, rebuild the profiles that changed."""
    from ingest_pipeline.sources.inbox import FOLDERS, open_inbox

    settings = load_settings()
    open_inbox(settings.inbox)
    sources = source or []
    targets: dict[str, Json] = {"reextract": reextract.value, "sources": [s.value for s in sources]}
    if profile:
        targets["profiles"] = _resolve(profile)
    ops = {
        "sync_op": {"config": {"sources": [s.value for s in FOLDERS if not sources or s in sources]}},
        "extract_op": {"config": targets},
    }
    raise typer.Exit(_sync(settings, {"ops": ops}, as_json))


def _resolve(profiles: list[str]) -> list[str]:
    """Profile ids: run config is kept for good, so no e-mail address may stand in it."""
    from ingest_pipeline.store.lookup import find_profile

    with _store() as engine:
        return [find_profile(engine, reference) for reference in profiles]


def _sync(settings: Settings, run_config: dict[str, Json], as_json: bool) -> int:
    """Run the nightly job in this process; the exit code."""
    from ingest_pipeline.launch import prepare_dagster_home
    from ingest_pipeline.store.overview import load_overview
    from ingest_pipeline.terminal import BarProgress, sync_table

    # What would fail in the run fails here, with one line.
    with _opened() as pipeline:
        prepare_dagster_home(settings)
        from ingest_pipeline.definitions import run_job

        with BarProgress(errors) as progress:
            outcome = run_job("nightly_sync", run_config, progress)
        overview = load_overview(pipeline.engine)
    if as_json:
        _print_json({"run": asdict(outcome), "status": asdict(overview)})
    else:
        console.print(sync_table(outcome.metadata))
        console.print(
            f"{overview.profiles:,} profiles with {overview.traits:,} traits and {overview.memories:,} memories; "
            f"run {outcome.run_id}",
            highlight=False,
        )
    if outcome.success:
        return 0
    errors.print(f"{outcome.failed_step or 'run'}: {outcome.failure or 'failed'}", style="red", markup=False)
    return FAILED if outcome.crashed or outcome.failed_step == "verdict_op" else USAGE


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
    from ingest_pipeline.direct import TextRequest, ingest_text
    from ingest_pipeline.store.direct import create_profile
    from ingest_pipeline.store.lookup import find_profile
    from ingest_pipeline.wire import error_json, text_result_json

    try:
        request = TextRequest(_given_text(data, file, dash), source, _given_metadata(metadata), traits, memories)
        with _opened() as pipeline:
            profile_id = create_profile(pipeline.engine, profile) if create else find_profile(pipeline.engine, profile)
            result = ingest_text(pipeline, profile_id, request)
    except (InvalidInput, ExtractionError) as error:
        _print_json(error_json(error))
        raise
    _print_json(text_result_json(result, request))


def _given_text(data: str | None, file: Path | None, dash: str | None) -> str:
    given = [value is not None for value in (data, file, dash)]
    if sum(given) != 1 or dash not in (None, "-"):
        raise InvalidInput("invalid_data", "give the text by exactly one of --data TEXT, --file F or - (stdin)", "data")
    if data is not None:
        return data
    try:
        return file.read_text(encoding="utf-8") if file else sys.stdin.buffer.read().decode("utf-8")
    except OSError as error:
        raise InvalidInput("invalid_data", f"cannot read the file: {error.strerror}", "data") from None
    except UnicodeDecodeError:
        raise InvalidInput("invalid_data", "the text is not UTF-8", "data") from None


def _given_metadata(metadata: str | None) -> dict[str, Json] | None:
    if metadata is None:
        return None
    try:
        value = json.loads(metadata)
    except (json.JSONDecodeError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InvalidInput("invalid_metadata", "metadata must be a JSON object", "metadata")
    return value


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
            else:
                console.print(ambiguous_table(shared))
            return
        found, total = list_profiles(engine, search, limit, offset)
    if as_json:
        _print_json({"profiles": [asdict(p) for p in found], "total": total})
        return
    console.print(profiles_table(found))
    console.print(f"{len(found)} of {total:,}")


@app.command()
def show(profile: Profile, as_json: AsJson = False) -> None:
    """Show a profile: its traits, memories, earlier values, and a sentence behind each."""
    from ingest_pipeline import wire
    from ingest_pipeline.store.facts import load_facts
    from ingest_pipeline.store.lookup import find_profile
    from ingest_pipeline.terminal import show_profile

    with _store() as engine:
        facts = load_facts(engine, find_profile(engine, profile))
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
    profile: Profile,
    fact: Annotated[str, typer.Argument(metavar="TRAIT_KEY|MEMORY_ID", help="As `ingest show` lists them.")],
    as_json: AsJson = False,
) -> None:
    """Show what proves a trait or memory: quote, place in the document, source, record and file."""
    from ingest_pipeline import wire
    from ingest_pipeline.store.facts import load_fact
    from ingest_pipeline.store.lookup import find_profile
    from ingest_pipeline.terminal import show_why

    with _store() as engine:
        profile_id = find_profile(engine, profile)
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
    """Show what is in the store, what is pending, what failed and was rejected, and what was spent."""
    from ingest_pipeline.store.overview import load_overview
    from ingest_pipeline.terminal import show_overview

    with _store() as engine:
        overview = load_overview(engine)
    if as_json:
        _print_json(asdict(overview))
    else:
        show_overview(console, overview)


@db.command()
def upgrade() -> None:
    """Bring the database to the current schema."""
    from ingest_pipeline.store.engine import HEAD_REVISION, create_store_engine
    from ingest_pipeline.store.engine import upgrade as upgrade_schema

    engine = create_store_engine(load_settings().database_url)
    upgrade_schema(engine)
    engine.dispose()
    console.print(f"the database is at revision {HEAD_REVISION}")
