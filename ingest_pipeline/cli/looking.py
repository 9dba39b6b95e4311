"""Commands that look: ``profiles``, ``show``, ``why``, ``status``."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from ingest_pipeline.cli.app import (
    AsJson,
    By,
    Looked,
    app,
    console,
    open_store,
    past_retention,
    print_json,
    record_read,
    say,
    say_retention,
)
from ingest_pipeline.errors import ConfigurationError, InvalidInput
from ingest_pipeline.settings import load_settings

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from ingest_pipeline.store.facts import Fact, Past


@app.command()
def profiles(
    search: Annotated[str, typer.Option(help="Part of a name, external id or identifier.")] = "",
    ambiguous: Annotated[bool, typer.Option("--ambiguous", help="Identifiers that several people claim.")] = False,
    duplicates: Annotated[bool, typer.Option("--duplicates", help="Profiles that may be one person.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50,
    offset: Annotated[int, typer.Option(min=0)] = 0,
    as_json: AsJson = False,
) -> None:
    """List profiles."""
    if duplicates:
        _suggest(limit, as_json)
        return
    from ingest_pipeline.store.lookup import list_ambiguous, list_profiles
    from ingest_pipeline.terminal import ambiguous_table, profiles_table

    with open_store() as engine:
        if ambiguous:
            shared = list_ambiguous(engine)
            if as_json:
                print_json([asdict(one) for one in shared])
            elif shared:
                console.print(ambiguous_table(shared))
            else:
                say("No identifier is claimed by several people.")
            return
        found, total = list_profiles(engine, search, limit, offset)
    if as_json:
        print_json({"profiles": [asdict(p) for p in found], "total": total})
        return
    if found:
        console.print(profiles_table(found, console.width))
    say(f"{len(found):,} of {total:,}" + (" that match" if search.strip() else ""))


def _suggest(limit: int, as_json: bool) -> None:
    from ingest_pipeline.store.suggestions import suggest_merges
    from ingest_pipeline.terminal_merging import suggestion_lines

    with open_store() as engine:
        found = suggest_merges(engine, limit)
    if as_json:
        print_json([asdict(one) | {"commands": one.commands} for one in found])
    elif found:
        for line in suggestion_lines(found):
            console.print(line, soft_wrap=True)
    else:
        say("No two profiles look like one person.")


@app.command()
def show(profile: Looked, by: By = None, as_json: AsJson = False) -> None:
    """Show a profile: its traits, memories, earlier values, and a sentence behind each."""
    from ingest_pipeline import wire
    from ingest_pipeline.store.audit_log import Audited
    from ingest_pipeline.store.facts import load_facts
    from ingest_pipeline.store.lookup import find_profile
    from ingest_pipeline.terminal_facts import show_profile

    with open_store() as engine:
        facts = load_facts(engine, find_profile(engine, profile, by_start=True))
        record_read(engine, by, Audited.SHOW, facts.id)
    if as_json:
        print_json(
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
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Show what proves a trait or memory: quote, place in the document, source, record and file."""
    from ingest_pipeline import wire
    from ingest_pipeline.store.lookup import find_profile
    from ingest_pipeline.terminal_facts import show_ended, show_why

    with open_store() as engine:
        profile_id = find_profile(engine, profile, by_start=True)
        found, history = _explain(engine, profile_id, fact, by)
    if as_json:
        shape = wire.memory_json if found and found.kind == "memory" else wire.trait_json
        print_json(
            {
                found.kind if found else "trait": shape(found, profile_id) if found else None,
                "evidence": [wire.lineage_json(proof) for proof in found.proofs] if found else [],
                "history": [wire.past_json(past) for past in history],
            }
        )
    elif found:
        show_why(console, found, history)
    else:
        show_ended(console, fact, history)


def _explain(
    engine: "Engine", profile_id: str, reference: str, by: str | None
) -> tuple["Fact | None", tuple["Past", ...]]:
    """The fact and its earlier values; no fact for a trait that only has those. Recorded, also when there is neither:
    the error tells what traits there are."""
    from ingest_pipeline.store.audit_log import Audited
    from ingest_pipeline.store.facts import load_fact, load_past

    try:
        found, history = load_fact(engine, profile_id, reference)
    except InvalidInput:
        history = load_past(engine, profile_id, reference)
        if not history:
            record_read(engine, by, Audited.WHY, profile_id, found=False)
            raise
        record_read(engine, by, Audited.WHY, profile_id, kind="trait", key=reference)
        return None, history
    record_read(engine, by, Audited.WHY, profile_id, kind=found.kind, key=found.key)
    return found, history


@app.command()
def status(
    rejected: Annotated[int, typer.Option(min=0, help="How many of what was rejected to list, latest first.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show what is in the store, what is pending and will cost, what failed and was rejected, and what was spent."""
    from ingest_pipeline.batching import open_batches
    from ingest_pipeline.estimating import estimate_pending, load_last_minute
    from ingest_pipeline.store.audits import count_failed
    from ingest_pipeline.store.overview import load_overview
    from ingest_pipeline.terminal import show_estimate, show_last_minute, show_overview, show_stale

    settings = load_settings()
    with open_store() as engine:
        overview, last_minute, under_way = (
            load_overview(engine, rejected),
            load_last_minute(engine),
            open_batches(engine),
        )
        past = past_retention(engine, settings)
        given_up = count_failed(engine, max_attempts=settings.max_attempts)
        try:
            estimate, trouble = estimate_pending(engine, settings), None
        except ConfigurationError as error:  # looking goes on with wrong settings: it may show what is wrong
            estimate, trouble = None, str(error)
    if as_json:
        more = {"last_minute": asdict(last_minute), "estimate": asdict(estimate) if estimate else {"error": trouble}}
        batches = [asdict(batch) for batch in under_way]
        print_json(asdict(overview) | more | {"batches": batches, "retention": past, "given_up": given_up})
        return
    show_overview(console, overview)
    if given_up:
        say(
            f"{sum(given_up.values()):,} of the failed documents were tried {settings.max_attempts} times "
            f"({', '.join(given_up)}) and are left to `ingest retry`"
        )
    show_last_minute(console, last_minute, under_way)
    if estimate and estimate.documents:
        show_estimate(console, estimate)
    if estimate:
        show_stale(console, estimate)
    say_retention(past)
    if trouble:
        say(f"no estimate: {trouble}")
