"""Commands that make one profile of two, or two of one: ``merge``, ``split``."""

import sys
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from ingest_pipeline.cli.app import AsJson, By, Profile, app, console, errors, print_json, say
from ingest_pipeline.cli.editing import open_editor
from ingest_pipeline.documents import Json
from ingest_pipeline.errors import ConfigurationError, InvalidInput

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ingest_pipeline.merging import Done, MergePlan, SplitPlan, UndoPlan

Yes = Annotated[bool, typer.Option("--yes", help="Do it without asking; with --json nothing is done without it.")]


@app.command()
def merge(
    profile: Profile,
    other: Annotated[
        str, typer.Argument(metavar="OTHER", help="Becomes part of it; or an identifier that several people claim.")
    ],
    yes: Yes = False,
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Make one profile of two: the first stays, the other's ids and identifiers resolve to it from now on."""
    from ingest_pipeline.merging import merge_profiles, plan_merge
    from ingest_pipeline.terminal_merging import merge_notes, merge_table

    with open_editor(by) as editor:
        plan = plan_merge(editor.engine, profile, other)
        if not _agreed(yes, as_json, "Merge them?", [merge_table(plan), *merge_notes(plan)], plan):
            return
        done = merge_profiles(editor, plan)
    _tell(as_json, plan, done, f"merged into {done.profile}; `ingest split {done.profile} --undo-merge` takes it back")


@app.command()
def split(
    profile: Profile,
    identifiers: Annotated[
        list[str] | None, typer.Argument(metavar="[IDENTIFIER]...", help="Those that are another person's.")
    ] = None,
    undo: Annotated[bool, typer.Option("--undo-merge", help="Take the profile's last merge by hand back.")] = False,
    yes: Yes = False,
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Make two profiles of one: what the identifiers named bring is a new one's, or the last merge is taken back."""
    if undo == bool(identifiers):
        raise InvalidInput("no_identifiers", "name the identifiers that are another person's, or give --undo-merge")
    if undo:
        _undo(profile, yes, by, as_json)
        return
    from ingest_pipeline.merging import plan_split, split_profile
    from ingest_pipeline.terminal_merging import split_notes

    with open_editor(by) as editor:
        plan = plan_split(editor.engine, profile, identifiers or [])
        if not _agreed(yes, as_json, "Split it?", split_notes(plan), plan):
            return
        done = split_profile(editor, plan)
    _tell(as_json, plan, done, f"{done.other} is apart from {done.profile} now, whatever is read later")


def _undo(profile: str, yes: bool, by: str | None, as_json: bool) -> None:
    from ingest_pipeline.merging import plan_undo, undo_merge
    from ingest_pipeline.terminal_merging import undo_notes

    with open_editor(by) as editor:
        plan = plan_undo(editor.engine, profile)
        if not _agreed(yes, as_json, "Take it back?", undo_notes(plan), plan):
            return
        done = undo_merge(editor, plan)
    if done.other:
        message = f"{done.other} is apart from {done.profile} again"
    elif plan.merge.other:
        message = f"taken back; the sources themselves make one profile of them, {done.profile}"
    else:
        message = "taken back"
    _tell(as_json, plan, done, message)


def _agreed(
    yes: bool,
    as_json: bool,
    question: str,
    shown: "Iterable[RenderableType]",
    plan: "MergePlan | SplitPlan | UndoPlan",
) -> bool:
    """Show what would happen and ask. A script that neither says --yes nor reads JSON gets an error."""
    if as_json:
        if not yes:
            print_json(_plan_json(plan) | {"done": False})
        return yes
    for part in shown:
        console.print(part, soft_wrap=isinstance(part, Text))
    if yes:
        return True
    if not sys.stdin.isatty():
        raise ConfigurationError("nobody is here to answer; add --yes to do it")
    errors.print(f"{question} [y/N] ", end="", markup=False)
    if input().strip().lower() in ("y", "yes"):
        return True
    say("Nothing was changed.")
    return False


def _tell(as_json: bool, plan: "MergePlan | SplitPlan | UndoPlan", done: "Done", message: str) -> None:
    if as_json:
        print_json(_plan_json(plan) | {"done": True} | asdict(done))
    else:
        say(message)


def _plan_json(plan: "MergePlan | SplitPlan | UndoPlan") -> dict[str, Json]:
    internal = ("identifier_id", "identifier_ids")
    return {"plan": {name: value for name, value in asdict(plan).items() if name not in internal}}
