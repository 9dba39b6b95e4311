"""The application object, and what its commands share: options, output, opening the store."""

import getpass
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from ingest_pipeline.console import OutputConsole, write
from ingest_pipeline.core_log import warnings_to
from ingest_pipeline.documents import Json, Source
from ingest_pipeline.errors import ProfileNotFound
from ingest_pipeline.settings import Settings, load_settings

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from ingest_pipeline.pipeline import Pipeline
    from ingest_pipeline.store.audit_log import Audited

ORDER = (
    "demo", "sync", "status", "retry", "inspect", "profiles", "show", "why", "document", "diff", "text", "serve",
    "set", "confirm", "reject", "unreject", "clear", "remember", "revise", "summary", "edits", "audit", "merge",
    "split", "forget", "export", "batch", "db",
)  # fmt: skip
"""The commands as ``--help`` lists them: what one begins with first."""


class Commands(TyperGroup):
    """In their order."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(super().list_commands(ctx), key=ORDER.index)


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="CRM exports, mailboxes and chat archives become user profiles, each fact with the sentence that proves it.",
)

console = OutputConsole()
errors = Console(stderr=True)

AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable output on stdout.")]
Profile = Annotated[
    str, typer.Argument(metavar="PROFILE", help="A profile id, an external id, or an identifier such as alex@acme.com.")
]
Looked = Annotated[
    str, typer.Argument(metavar="PROFILE", help="A profile id or its first characters, an external id or identifier.")
]
Create = Annotated[bool, typer.Option("--create", help="Make a profile with this external id if there is none.")]
By = Annotated[
    str | None, typer.Option("--by", metavar="NAME", help="Who does this, as the record will say; default: your login.")
]
Sources = Annotated[list[Source] | None, typer.Option("--source", help="Only this source; may be given several times.")]


def complain(message: str) -> None:
    errors.print(f"error: {message}", style="red", markup=False, highlight=False, soft_wrap=True)


def warn(message: str) -> None:
    """Above the progress bar, where there is one."""
    errors.print(f"warning: {message}", style="yellow", markup=False, highlight=False, soft_wrap=True)


def say(message: str, style: str | None = None) -> None:
    """One line, as it is."""
    console.print(message, style=style, markup=False, highlight=False, soft_wrap=True)


def print_json(value: Json) -> None:
    write(json.dumps(value, ensure_ascii=False, indent=2, default=str) + "\n")


@contextmanager
def opened(settings: Settings | None = None, create: bool = True) -> Iterator["Pipeline"]:
    """The pipeline; what the core warns of meanwhile is told on stderr."""
    from ingest_pipeline.pipeline import open_pipeline

    with warnings_to(warn):
        pipeline = open_pipeline(settings or load_settings(), create)
        try:
            yield pipeline
        finally:
            pipeline.close()


@contextmanager
def open_store(create: bool = False) -> Iterator["Engine"]:
    """The database alone: looking needs no trait schema and no model, and makes no database."""
    from ingest_pipeline import pipeline

    engine = pipeline.open_store(load_settings(), create)
    try:
        yield engine
    finally:
        engine.dispose()


def resolve(profiles: list[str]) -> list[str]:
    """Profile ids: run config is kept for good, so no e-mail address may stand in it."""
    from ingest_pipeline.store.lookup import find_profile

    with open_store() as engine:
        return [find_profile(engine, reference) for reference in profiles]


def find_or_create(engine: "Engine", reference: str, create: bool) -> str:
    """The profile's id; with ``create`` a new profile's where there is none."""
    from ingest_pipeline.store.direct import create_profile
    from ingest_pipeline.store.lookup import find_profile

    try:
        return find_profile(engine, reference)
    except ProfileNotFound:
        if not create:
            raise
        return create_profile(engine, reference)


def actor(by: str | None) -> str:
    """Who does this: as said, else the login name. Nobody checks either: it is a record among colleagues."""
    if by is not None:
        return by
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # in a container without a user database
        return "unknown"


def record_read(engine: "Engine", by: str | None, action: "Audited", profile_id: str | None, **detail: Json) -> None:
    """What was read of a profile, or of all, goes into the audit log before any of it is shown."""
    from ingest_pipeline.store.audit_log import Via, append

    append(engine, actor(by), Via.CLI, action, profile_id, detail)


def past_retention(engine: "Engine", settings: Settings) -> dict[str, dict[str, int]]:
    """By source that has a limit: its ``days``, and how many documents the next sync erases for that."""
    from datetime import UTC, datetime

    from ingest_pipeline.store.expiring import count_expired

    days, past = dict(settings.keep_days), count_expired(engine, settings.keep_days, datetime.now(UTC))
    return {source.value: {"days": days[source.value], "documents": n} for source, n in past.items()}


def say_retention(past: dict[str, dict[str, int]]) -> None:
    for source, one in past.items():
        if one["documents"]:
            count, days = one["documents"], one["days"]
            say(f"{count:,} documents of {source} are older than {days:,} days: the next sync erases them")


def say_summaries(written: Mapping[str, Json]) -> None:
    """What the run's metadata tell of the summaries that a model wrote, if it was to."""
    if "summaries_written" not in written:
        return
    say(f"{written['summaries_written']:,} summaries were written by the model")
    waiting = written["summaries_failed"] + written["summaries_left"]
    if waiting:
        say(f"{waiting:,} were not, and are the template's until the next sync; `ingest status` tells why")
