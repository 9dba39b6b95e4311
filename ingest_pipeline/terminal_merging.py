"""What the command line says before and after a merge or a split."""

from collections.abc import Iterable, Iterator, Sequence

from rich.table import Table
from rich.text import Text

from ingest_pipeline.console import plain
from ingest_pipeline.merging import MergePlan, SplitPlan, UndoPlan
from ingest_pipeline.store.lookup import ProfileSummary
from ingest_pipeline.store.suggestions import Suggestion
from ingest_pipeline.terminal import make_table, time_text, value_text

_MANY = 20
"""Identifiers on a line; of more the number is said."""


def merge_table(plan: MergePlan) -> Table:
    """The two profiles side by side."""
    sides = [plan.into, *([plan.other] if plan.other else [])]
    table = make_table("", "Stays", *(["Becomes part of it"] if plan.other else []))
    table.add_row("profile", *(side.id for side in sides))
    table.add_row("name", *(plain(side.name or "") for side in sides))
    table.add_row("external id", *(plain(side.external_id or "") for side in sides))
    table.add_row("identifiers", *(_listed(side.identifiers) for side in sides))
    for what in ("documents", "traits", "memories"):
        table.add_row(what, *(f"{getattr(side, what):,}" for side in sides))
    return table


def merge_notes(plan: MergePlan) -> Iterator[Text]:
    """What to think of before."""
    if plan.identifier:
        yield plain(f"{plan.identifier}, which several people claim, becomes this profile's, with its documents.")
    for system in plan.systems:
        yield plain(f"Both have a record in {system}, which takes them for two people.", style="yellow")
    for conflict in plan.conflicts:
        values = f"{value_text(conflict.value)} / {value_text(conflict.other)}"
        yield plain(f"They differ in {conflict.key}: {values}; decisions by hand, then the later evidence, will hold.")


def split_notes(plan: SplitPlan) -> Iterator[Text]:
    yield plain(f"{_named(plan.profile)} keeps {_listed(plan.staying)}.")
    yield plain(f"A new profile gets {_listed(plan.leaving)} with {_documents(plan.documents)}.")
    if plan.followers:
        yield plain(f"Not named, but nobody else's: {_listed(plan.followers)}.")


def undo_notes(plan: UndoPlan) -> Iterator[Text]:
    merge = plan.merge
    what = f"{plan.name or ''} ({merge.other})".strip() if merge.other else "an identifier that several people claim"
    yield plain(f"Merged into {_named(plan.profile)} by {merge.actor}, {time_text(merge.at)}: {what}.")
    if merge.other:
        yield plain(f"It gets back {_listed(plan.identifiers)} with {_documents(plan.documents)}.")


def suggestion_lines(found: Iterable[Suggestion]) -> Iterator[Text]:
    """For each suggestion who, why, and the commands, each on a line that can be copied."""
    yield Text("Profiles that may be one person:", style="bold")
    for one in found:
        yield plain(" and ".join(_named(profile) for profile in one.profiles))
        yield plain(f"  {'; '.join(one.reasons)}")
        for command in one.commands:
            yield plain(f"  {command}", style="cyan")


def _named(profile: ProfileSummary) -> str:
    known = profile.name or profile.external_id or next(iter(profile.identifiers), None)
    return f"{known} ({profile.id})" if known else profile.id


def _listed(identifiers: Sequence[str]) -> str:
    if len(identifiers) > _MANY:
        return f"{len(identifiers):,} identifiers"
    return ", ".join(identifiers) or "no identifier"


def _documents(number: int) -> str:
    return f"{number:,} document{'' if number == 1 else 's'}"
