"""What the command line shows: tables, panels, progress bars.

Text of documents is shown as text: markup is not interpreted and control characters do not reach the terminal.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from rich import box
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, Task, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress
from rich.table import Table

from ingest_pipeline.console import plain
from ingest_pipeline.documents import Json
from ingest_pipeline.store.lookup import Ambiguous, ProfileSummary
from ingest_pipeline.store.overview import Overview

if TYPE_CHECKING:
    from ingest_pipeline.batching import Polled
    from ingest_pipeline.estimating import LastMinute, PendingEstimate
    from ingest_pipeline.llm.batch_rows import Batch

SHORT_ID = 8
"""Characters of an id that are shown in tables; `ingest why` takes them when they are unique in the profile."""

_NARROW = (
    "Trait",
    "Type",
    "Kind",
    "When",
    "Who",
    "Since",
    "Last said",
    "Id",
    "From",
    "Until",
    "Confidence",
    "Importance",
    "Source",
    "Profile",
)
_NUMERIC = ("Files", "Files\nread", "Files\nunchanged", "Documents", "Documents\nnew", "Documents\nreplaced", "Traits",
            "Memories", "Units", "Pending", "Failed", "Not\nassigned", "Rejected", "Skipped")  # fmt: skip
_WIDE = 120
"""From so many columns on, ids are shown in full."""


class _Spinner(SpinnerColumn):
    """Stands still once its stage is over, however far it came."""

    def render(self, task: Task) -> RenderableType:
        return super().render(task) if task.stop_time is None else " "


class BarProgress:
    """A bar per stage on stderr; nothing where stderr is no terminal."""

    def __init__(self, console: Console) -> None:
        self._bars = RichProgress(
            _Spinner(),
            TextColumn("{task.description:<16}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> "BarProgress":
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end_stage()
        self._bars.stop()

    def start(self, stage: str, total: int | None) -> None:
        self._end_stage()
        self._task = self._bars.add_task(stage, total=total)

    def advance(self, steps: int = 1) -> None:
        if self._task is not None:
            self._bars.advance(self._task, steps)

    def _end_stage(self) -> None:
        if self._task is not None:
            task = self._bars.tasks[self._task]
            if task.total is None:
                self._bars.update(self._task, total=task.completed)
            self._bars.stop_task(self._task)


def sync_table(metadata: Mapping[str, Mapping[str, Json]]) -> Table:
    """What reading did, a row per source asset."""
    table = make_table(
        "Source", "Files\nread", "Files\nunchanged", "Documents\nnew", "Documents\nreplaced", "Rejected", "Skipped"
    )
    for asset, values in sorted(metadata.items()):
        if "files_read" in values:
            names = ("files_read", "files_unchanged", "documents_new", "documents_replaced", "rejected", "skipped")
            table.add_row(asset.removesuffix("_documents"), *(f"{values.get(name, 0):,}" for name in names))
    return table


def profiles_table(profiles: Iterable[ProfileSummary], width: int) -> Table:
    """``width``: columns of the console. Where there are few, ids are shortened; ``ingest show`` takes them."""
    table = make_table("Profile", "Name", "Identifiers", "Documents", "Traits", "Memories")
    for p in profiles:
        known = ([p.external_id] if p.external_id else []) + list(p.identifiers)
        more = f" +{len(known) - 1}" if len(known) > 1 else ""
        table.add_row(
            p.id if width >= _WIDE else p.id[:SHORT_ID], plain(p.name or "–"), plain("".join(known[:1]) + more),
            f"{p.documents:,}", f"{p.traits:,}", f"{p.memories:,}",
        )  # fmt: skip
    return table


def ambiguous_table(shared: Iterable[Ambiguous]) -> Table:
    table = make_table("Identifier", "Claimed by", title="Identifiers that several people claim; they link nobody")
    for one in shared:
        table.add_row(plain(one.identifier), "\n".join(one.profiles))
    return table


def show_overview(console: Console, overview: Overview) -> None:
    console.print(
        f"{overview.profiles:,} profiles, {overview.traits:,} traits, {overview.memories:,} memories, "
        f"{overview.evidence:,} pieces of evidence"
    )
    table = make_table("Source", "Files", "Documents", "Pending", "Failed", "Not\nassigned", "Rejected", "Skipped")
    for s in overview.sources:
        numbers = (s.files, s.documents, s.pending, s.failed, s.unassigned, s.rejected, sum(s.skipped.values()))
        table.add_row(s.source, *(f"{n:,}" for n in numbers))
    console.print(table)
    skipped = [(s.source, reason, n) for s in overview.sources for reason, n in sorted(s.skipped.items())]
    _optional(console, "Skipped", ("Source", "Why", "Units"), skipped)
    _optional(
        console, "Failed, tried again by the next run or `ingest retry`", ("Why", "Documents"), overview.failed.items()
    )
    rejected = [(unit.file, unit.position, unit.reason) for unit in overview.rejected]
    _optional(console, "Rejected (latest)", ("File", "Where", "Why"), rejected)
    total = sum(unit.rejected for unit in overview.sources)
    if total > len(rejected):
        console.print(f"… and {total - len(rejected):,} more: `ingest status --rejected {total}` lists them all")
    _optional(
        console,
        "Summaries that the model gave no good answer for; the template's stand",
        ("Why", "Profiles"),
        overview.summaries_failed.items(),
    )
    notes = {
        "Summaries written by the model": overview.summaries.get("llm", 0),
        "Summaries that the model is still to write, at the next sync": overview.summaries_due,
        "Documents waiting for extraction": sum(s.pending for s in overview.sources),
        "Documents of nobody known (list mail, shared addresses)": sum(s.unassigned for s in overview.sources),
        "Identifiers that several people claim, which link nobody": overview.ambiguous_identifiers,
        "Profiles to fold, which the next sync does": overview.unfolded,
        "LLM calls": overview.llm_calls,
    }
    for note, n in notes.items():
        if n:
            console.print(f"{note}: {n:,}")
    if overview.llm_calls:
        unknown = f", and {overview.unpriced_calls:,} calls of unknown price" if overview.unpriced_calls else ""
        console.print(f"Spent: ${overview.spent_usd:,.4f}{unknown}")


def _optional(console: Console, title: str, header: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> None:
    table = make_table(*header, title=title)
    for row in rows:
        table.add_row(*(plain(str(cell)) for cell in row))
    if table.row_count:
        console.print(table)


def make_table(*columns: str, title: str | None = None) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        justify: Literal["left", "right"] = "right" if column in _NUMERIC else "left"
        table.add_column(column, justify=justify, overflow="fold", no_wrap=column in _NARROW or column in _NUMERIC)
    return table


def value_text(value: Json) -> str:
    return ", ".join(str(element) for element in value) if isinstance(value, list) else str(value)


def day(moment: datetime | None) -> str:
    return moment.date().isoformat() if moment else "–"


def time_text(moment: datetime | None) -> str:
    return moment.strftime("%Y-%m-%d %H:%M UTC") if moment else "at an unknown time"


def show_estimate(console: Console, estimate: "PendingEstimate") -> None:
    """What the pending work takes."""
    if not estimate.documents:
        console.print("Nothing is pending.")
        return
    if estimate.model == "offline":
        console.print(f"Pending: {estimate.documents:,} documents, extracted offline at no cost")
        return
    price = "price unknown" if estimate.cost_usd is None else f"${estimate.cost_usd:,.4f}"
    minutes = (estimate.seconds or 0.0) / 60
    console.print(
        f"Pending: {estimate.documents:,} documents; about {estimate.calls:,} calls to {estimate.model}, "
        f"{estimate.input_tokens:,} input and {estimate.output_tokens:,} output tokens, {price} "
        f"(half by --batch), {minutes:,.1f} minutes at the configured limits",
        markup=False,
    )
    if estimate.cached:
        console.print(f"{estimate.cached:,} further requests were answered before and cost nothing", style="dim")
    if estimate.sampled < estimate.documents:
        console.print(f"estimated from a sample of {estimate.sampled:,} documents", style="dim")


def show_stale(console: Console, estimate: "PendingEstimate") -> None:
    """That settings changed since documents were extracted, and what to do about it."""
    if estimate.stale:
        console.print(
            f"{estimate.stale:,} documents were extracted by another model, prompt or trait schema; "
            "`ingest sync --reextract stale` does them again",
            markup=False,
        )


def show_last_minute(console: Console, rate: "LastMinute", under_way: "Sequence[Batch]") -> None:
    """How fast it goes, and what the provider has in hand."""
    if rate.calls or rate.documents:
        console.print(f"In the last minute: {rate.calls:,} calls, {rate.documents:,} documents")
    if under_way:
        documents = sum(batch.documents for batch in under_way)
        console.print(f"{len(under_way):,} batches with {documents:,} documents are under way; `ingest batch poll`")


def batches_table(polled: "Iterable[Polled]") -> Table:
    table = make_table("Batch", "Model", "State", "Documents", "Handed in", "Note")
    for one in polled:
        batch = one.batch
        state = one.status.state if one.status else batch.state
        table.add_row(
            batch.id[:SHORT_ID], plain(batch.model), state, f"{batch.documents:,}", time_text(batch.created_at),
            plain(one.note or ""),
        )  # fmt: skip
    return table
