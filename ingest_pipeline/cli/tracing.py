"""Commands that trace: what a document contributed, what a re-extraction changed."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from msgspec import structs
from rich import box
from rich.console import Group
from rich.panel import Panel
from rich.table import Column, Table

from ingest_pipeline.cli.app import AsJson, By, app, console, open_store, print_json, record_read, say
from ingest_pipeline.console import plain

if TYPE_CHECKING:
    from ingest_pipeline.store.contributions import Contribution, DocumentFacts
    from ingest_pipeline.store.differences import Claim, DocumentDifference

_FATES = {
    "supports": "proves what holds",
    "past": "proved what held before",
    "ended": "ended a value",
    "rejected": "rejected",
    "outdated": "outdated",
    "unused": "not used: too unsure, or others decide",
}


@app.command()
def document(
    document_id: Annotated[str, typer.Argument(metavar="DOCUMENT_ID", help="As `ingest why` shows it, or its start.")],
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Show a document with everything that was found in it, and what became of each claim."""
    from ingest_pipeline.store.audit_log import Audited
    from ingest_pipeline.store.contributions import load_document_facts

    with open_store() as engine:
        found = load_document_facts(engine, document_id)
        record_read(engine, by, Audited.DOCUMENT, found.profile_id)
    if as_json:
        print_json(asdict(found) | {"segments": [structs.asdict(segment) for segment in found.segments]})
    else:
        console.print(_document_panel(found))
        console.print(_contributions_table(found) if found.contributions else "Nothing was found in it.")


def _document_panel(found: "DocumentFacts") -> Panel:
    place = [found.file or "given directly", found.position or "", f"{found.source} / {found.origin} {found.native_id}"]
    where = "  ".join(part for part in place if part)
    last = found.attempts[-1] if found.attempts else None
    outcome = f"{found.state}: {last.status}" + (f", {last.reason}" if last.reason else "") if last else found.state
    text = plain(found.text)
    for contribution in found.contributions:
        text.stylize(
            "reverse" if contribution.fate == "supports" else "underline", contribution.start, contribution.end
        )
    return Panel(Group(plain(where, "dim"), plain(outcome, "dim"), "", text), title=found.id, title_align="left")


def _contributions_table(found: "DocumentFacts") -> Table:
    table = Table("Claim", "Quote", "Confidence", "Became", box=box.SIMPLE)
    for one in found.contributions:
        fate = (
            _FATES[one.fate] + (f" ({one.reason})" if one.reason else "") + (f" {one.fact_id}" if one.fact_id else "")
        )
        table.add_row(plain(_claim(one)), plain(one.quote), f"{one.confidence:.2f}", plain(fate))
    return table


def _claim(claim: "Contribution | Claim") -> str:
    """One line: a trait with its value, a memory's sentence."""
    ended = " (no longer)" if claim.retracted else ""
    return f"{claim.key} = {claim.value}{ended}" if claim.kind == "trait" else f"{claim.key}: {claim.value}{ended}"


@app.command()
def diff(
    profile: Annotated[str | None, typer.Option("--profile", help="Only this person, claim by claim.")] = None,
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Show what the latest re-extraction found that the one before did not, and the other way round."""
    from ingest_pipeline.store.audit_log import Audited
    from ingest_pipeline.store.differences import load_difference, load_document_differences
    from ingest_pipeline.store.lookup import find_profile

    with open_store() as engine:
        profile_id = find_profile(engine, profile, by_start=True) if profile is not None else None
        difference = load_difference(engine, profile_id)
        documents = [d for d in load_document_differences(engine, profile_id) if d.differs] if profile_id else []
        if profile_id:
            record_read(engine, by, Audited.DIFF, profile_id)
    if as_json:
        extractors = [{"before": b, "after": a, "documents": n} for (b, a), n in difference.extractors.items()]
        print_json(asdict(difference) | {"extractors": extractors, "claims": [asdict(one) for one in documents]})
        return
    if not difference.documents:
        say("No document was extracted by two extractors; `ingest sync --reextract stale` does that.")
        return
    say(f"{difference.documents:,} documents were extracted again, {difference.differing:,} with another outcome:")
    for (before, after), n in sorted(difference.extractors.items()):
        say(f"  {n:,} by {after} after {before}", style="dim")
    numbers = (Column(name, justify="right") for name in ("Kept", "Added", "Removed", "Changed"))
    table = Table("Trait or memory", *numbers, box=box.SIMPLE)
    for key in difference.keys:
        table.add_row(key.key, *(f"{n:,}" for n in (key.kept, key.added, key.removed, key.changed)))
    console.print(table)
    for one in documents:
        _show_document_difference(one)


def _show_document_difference(one: "DocumentDifference") -> None:
    say(f"document {one.document_id}", style="dim")
    for claim in one.removed:
        console.print(plain(f"  - {_claim(claim)}", "red"), soft_wrap=True)
    for claim in one.added:
        console.print(plain(f"  + {_claim(claim)}", "green"), soft_wrap=True)
    for before, after in one.changed:
        console.print(plain(f"  ~ {_claim(before)} → {after.value}", "yellow"), soft_wrap=True)
