"""Commands by which a person decides, and that show who decided and who looked."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from ingest_pipeline.cli.app import (
    AsJson,
    By,
    Create,
    Looked,
    Profile,
    actor,
    app,
    console,
    find_or_create,
    open_store,
    print_json,
    record_read,
    say,
)
from ingest_pipeline.console import plain
from ingest_pipeline.documents import Json
from ingest_pipeline.errors import InvalidInput, ProfileNotFound
from ingest_pipeline.extraction.base import MemoryType
from ingest_pipeline.settings import load_settings

if TYPE_CHECKING:
    from ingest_pipeline.editing import Decided, Editor
    from ingest_pipeline.extraction.traits import TraitSchema

Fact = Annotated[str, typer.Argument(metavar="KEY|MEMORY_ID", help="As `ingest show` lists them.")]
MemoryId = Annotated[str, typer.Argument(metavar="MEMORY_ID", help="As `ingest show` lists it, or its start.")]
Limit = Annotated[int, typer.Option(min=1, max=100_000, help="So many of the newest.")]
Importance = Annotated[float | None, typer.Option(help="0 to 1; without it what is usual for its type.")]


@contextmanager
def open_editor(by: str | None, create: bool = False) -> Iterator["Editor"]:
    """The store and the trait schema: deciding needs no model."""
    from ingest_pipeline.editing import Editor
    from ingest_pipeline.extraction.traits import load_traits
    from ingest_pipeline.store.audit_log import Via

    settings = load_settings()
    schema = load_traits(settings.traits)
    with open_store(create) as engine:
        yield Editor(engine, schema, actor(by), Via.CLI, settings.fold_rules())


def _find(editor: "Editor", profile: str) -> str:
    from ingest_pipeline.store.lookup import find_profile

    return find_profile(editor.engine, profile)


def _say_text(text: str) -> None:
    """Text of people, on one line unless it has several."""
    console.print(plain(text), soft_wrap=True)


def _tell(decided: "Decided", as_json: bool) -> None:
    """One line of what changed, or the fact before and after with what was recorded."""
    from ingest_pipeline import wire
    from ingest_pipeline.terminal_decisions import decision_line

    if not as_json:
        _say_text(decision_line(decided))
        return
    answer: dict[str, Json] = {
        "profile": wire.profile_json(decided.profile),
        "edits": [wire.edit_json(edit) for edit in decided.edits],
    }
    kind = decided.edits[0].kind.value
    if kind != "summary":
        shape = wire.trait_json if kind == "trait" else wire.memory_json
        facts = {"before": decided.before, kind: decided.after}
        answer |= {name: shape(fact, decided.profile.id) if fact else None for name, fact in facts.items()}
    print_json(answer)


@app.command("set")
def set_(
    profile: Profile,
    key: Annotated[str, typer.Argument(metavar="KEY", help="A trait of the schema.")],
    value: Annotated[str, typer.Argument(metavar="VALUE", help="For a many-valued trait a JSON array.")],
    confidence: Annotated[float | None, typer.Option(help="How sure you are, 0 to 1.")] = None,
    create: Create = False,
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Set a trait by hand: the value stays, whatever is read later, until it is set again or cleared."""
    from ingest_pipeline.editing import check_confidence, check_value, set_trait

    with open_editor(by, create) as editor:
        schema = _schema_of(editor, profile, key)
        given = _given_value(schema, key, value)
        # What is wrong must not make a profile.
        check_value(schema, key, given)
        check_confidence(confidence)
        profile_id = find_or_create(editor.engine, profile, create)
        decided = set_trait(editor, profile_id, key, given, confidence)
    _tell(decided, as_json)


def _schema_of(editor: "Editor", profile: str, key: str) -> "TraitSchema":
    try:
        return editor.schema_of(_find(editor, profile), key)
    except ProfileNotFound:
        return editor.schema


def _given_value(schema: "TraitSchema", key: str, value: str) -> Json:
    """A JSON array for a many-valued trait; ``check_value`` refuses what is none."""
    trait = schema.get(key)
    if trait is None or trait.value_type != "array":
        return value
    try:
        return json.loads(value)
    except (json.JSONDecodeError, RecursionError):
        return value


@app.command()
def clear(profile: Profile, fact: Fact, by: By = None, as_json: AsJson = False) -> None:
    """Take back what was set, confirmed, written or revised by hand: the evidence decides again."""
    from ingest_pipeline.editing import clear

    with open_editor(by) as editor:
        decided = clear(editor, _find(editor, profile), fact)
    _tell(decided, as_json)


@app.command()
def confirm(
    profile: Profile,
    fact: Fact,
    value: Annotated[
        str | None, typer.Option(help="Of a conflict the value that is right; of many values only this one.")
    ] = None,
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Say that a trait or memory is right: only newer evidence may end it."""
    from ingest_pipeline.editing import confirm

    with open_editor(by) as editor:
        decided = confirm(editor, _find(editor, profile), fact, value)
    _tell(decided, as_json)


@app.command()
def reject(
    profile: Profile,
    fact: Fact,
    value: Annotated[str | None, typer.Option(help="Only this value or element, even if it is not shown.")] = None,
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Say that a trait or memory is wrong: it does not come back, from old or new evidence."""
    from ingest_pipeline.editing import reject

    with open_editor(by) as editor:
        decided = reject(editor, _find(editor, profile), fact, value)
    _tell(decided, as_json)


@app.command()
def unreject(
    profile: Profile,
    fact: Annotated[
        str, typer.Argument(metavar="KEY|MEMORY_ID", help="A trait; a memory by the id that it had, or its edit's.")
    ],
    value: Annotated[str | None, typer.Option(help="Only this value or element.")] = None,
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Take rejections back; `ingest edits` lists them."""
    from ingest_pipeline.editing import unreject

    with open_editor(by) as editor:
        decided = unreject(editor, _find(editor, profile), fact, value)
    _tell(decided, as_json)


@app.command()
def remember(
    profile: Profile,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="One sentence in the third person.")],
    kind: Annotated[MemoryType, typer.Option("--type", help="What kind of memory it is.")] = MemoryType.FACT,
    importance: Importance = None,
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Write a memory by hand."""
    from ingest_pipeline.editing import add_memory

    with open_editor(by) as editor:
        decided = add_memory(editor, _find(editor, profile), text, kind, importance)
    _tell(decided, as_json)


@app.command()
def revise(
    profile: Profile,
    memory: MemoryId,
    text: Annotated[str | None, typer.Argument(metavar="[TEXT]", help="Its new words.")] = None,
    kind: Annotated[MemoryType | None, typer.Option("--type", help="Its new type.")] = None,
    importance: Annotated[float | None, typer.Option(help="Its new importance, 0 to 1.")] = None,
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Put a memory into other words, or change its type or importance; what proves it stays with it."""
    from ingest_pipeline.editing import revise_memory

    with open_editor(by) as editor:
        decided = revise_memory(editor, _find(editor, profile), memory, text, kind, importance)
    _tell(decided, as_json)


@app.command()
def summary(
    profile: Profile,
    text: Annotated[str | None, typer.Argument(metavar="[TEXT]", help="The summary from now on.")] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Let it be made from the facts again.")] = False,
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Show a profile's summary, or write it by hand."""
    from ingest_pipeline import wire
    from ingest_pipeline.editing import clear_summary, set_summary
    from ingest_pipeline.store.audit_log import Audited
    from ingest_pipeline.store.facts import load_facts

    if clear and text is not None:
        raise InvalidInput("invalid_summary", "give either a text or --clear", "summary")
    with open_editor(by) as editor:
        profile_id = _find(editor, profile)
        if not clear and text is None:
            facts = load_facts(editor.engine, profile_id)
            record_read(editor.engine, by, Audited.SHOW, profile_id, part="summary")
            if as_json:
                print_json({"profile": wire.profile_json(facts)})
            else:
                _say_text(facts.summary or "No summary yet.")
            return
        decided = clear_summary(editor, profile_id) if clear else set_summary(editor, profile_id, text)
    _tell(decided, as_json)


@app.command()
def edits(profile: Looked, limit: Limit = 50, by: By = None, as_json: AsJson = False) -> None:
    """Show what was decided about a profile by hand, newest first."""
    from ingest_pipeline import wire
    from ingest_pipeline.store.audit_log import Audited
    from ingest_pipeline.store.edits import load_edits
    from ingest_pipeline.store.lookup import find_profile
    from ingest_pipeline.terminal_decisions import edits_table

    with open_store() as engine:
        profile_id = find_profile(engine, profile, by_start=True)
        found = load_edits(engine, profile_id)
        record_read(engine, by, Audited.EDITS, profile_id)
    if as_json:
        print_json({"edits": [wire.edit_json(edit) for edit in found[:limit]], "total": len(found)})
    elif found:
        console.print(edits_table(found[:limit]))
        say(f"{min(limit, len(found)):,} of {len(found):,}")
    else:
        say("Nothing was decided by hand.")


@app.command()
def audit(
    profile: Annotated[
        str | None, typer.Option("--profile", help="Only of this profile; of an erased one by its full id.")
    ] = None,
    since: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M"], help="Only from then on, in UTC.")
    ] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """Show who read, changed, exported or erased single profiles, newest first."""
    from ingest_pipeline import wire
    from ingest_pipeline.store.audit_log import find_audited, load_audit_log
    from ingest_pipeline.terminal_decisions import audit_table

    with open_store() as engine:
        profile_id = find_audited(engine, profile) if profile is not None else None
        entries = load_audit_log(engine, profile_id, since.replace(tzinfo=UTC) if since else None, limit)
    if as_json:
        print_json([wire.audit_json(entry) for entry in entries])
    elif entries:
        console.print(audit_table(entries))
    else:
        say("Nothing is recorded.")
