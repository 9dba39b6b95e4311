"""What the page of a profile shows: traits by category, memories by type, what happened when, what was decided."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from ingest_pipeline.api.pages.rendering import value_text
from ingest_pipeline.documents import Json
from ingest_pipeline.editing.standing import Standing, standing
from ingest_pipeline.edits import Action, Edit, Target
from ingest_pipeline.extraction.base import MemoryType
from ingest_pipeline.extraction.traits import Trait, TraitSchema
from ingest_pipeline.store.facts import Fact, Past, ProfileFacts, Proof

MEMORIES_SHOWN = 30
"""Of each type, the weightiest, unless all are asked for."""

EVENTS_SHOWN = 40

REJECTED = "rejected"
"""Why a value ended that somebody rejected."""


@dataclass(frozen=True, slots=True)
class TraitLine:
    """A trait, and the values it had before, the latest first."""

    fact: Fact
    label: str
    before: tuple[Past, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Facts of one category or type. ``more``: how many are not shown."""

    name: str
    lines: tuple[TraitLine, ...] = ()
    memories: tuple[Fact, ...] = ()
    more: int = 0


@dataclass(frozen=True, slots=True)
class Option:
    """One value of a conflict, and its newest piece of evidence."""

    value: Json
    proof: Proof | None
    proofs: int


@dataclass(frozen=True, slots=True)
class Conflict:
    fact: Fact
    label: str
    options: tuple[Option, ...]


@dataclass(frozen=True, slots=True)
class Event:
    """Something on the timeline. ``fact``: key or id of what it leads to, if that is still there."""

    at: datetime
    kind: str
    title: str
    detail: str = ""
    fact: str | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """A decision that can be taken back. ``reference`` is the trait's key, or the edit's id for a memory."""

    reference: str
    label: str
    text: str
    value: str | None
    edit: Edit


@dataclass(frozen=True, slots=True)
class ProfileView:
    """Everything on the page that is not on the profile itself."""

    conflicts: tuple[Conflict, ...]
    traits: tuple[Group, ...]
    ended: tuple[tuple[str, tuple[Past, ...]], ...]
    absent: tuple[Trait, ...]
    memories: tuple[Group, ...]
    events: tuple[Event, ...]
    events_left: int
    rejected: tuple[Rejected, ...]
    written_summary: bool


def label_of(schema: TraitSchema, key: str) -> str:
    """As people read it; of a trait that the schema no longer has, its key."""
    trait = schema.get(key)
    return trait.label if trait and trait.label else key.replace("_", " ").capitalize()


def view_profile(
    facts: ProfileFacts, edits: Sequence[Edit], schema: TraitSchema, everything: bool = False
) -> ProfileView:
    stands = standing(edits, schema)
    before: dict[str, list[Past]] = {}
    for past in facts.history:
        before.setdefault(past.key, []).append(past)
    has = {fact.key for fact in facts.traits}
    events = sorted(_events(facts, edits, schema), key=lambda event: event.at, reverse=True)
    shown = events if everything else events[:EVENTS_SHOWN]
    return ProfileView(
        conflicts=tuple(_conflicts(facts.traits, schema)),
        traits=tuple(_trait_groups(facts.traits, before, schema)),
        ended=tuple(_ended(before, has, schema)),
        absent=tuple(trait for trait in schema.traits if trait.key not in has),
        memories=tuple(_memory_groups(facts.memories, everything)),
        events=tuple(shown),
        events_left=len(events) - len(shown),
        rejected=tuple(_rejected(stands, schema)),
        written_summary=stands.summary is not None,
    )


def _ended(before: dict[str, list[Past]], has: set[str], schema: TraitSchema) -> Iterator[tuple[str, tuple[Past, ...]]]:
    """Traits that have no value any more. What was rejected never held."""
    for key, pasts in before.items():
        held = tuple(past for past in pasts if past.reason != REJECTED)
        if held and key not in has:
            yield label_of(schema, key), held


def _conflicts(traits: Iterable[Fact], schema: TraitSchema) -> Iterator[Conflict]:
    for fact in traits:
        if fact.alternatives:
            options = []
            for value in (fact.value, *fact.alternatives):
                proofs = fact.supporting() if value is fact.value else fact.proofs_of(value)
                options.append(Option(value, proofs[0] if proofs else None, len(proofs)))
            yield Conflict(fact, label_of(schema, fact.key), tuple(options))


def _trait_groups(traits: Iterable[Fact], before: dict[str, list[Past]], schema: TraitSchema) -> Iterator[Group]:
    """In the schema's order."""
    order = {trait.key: n for n, trait in enumerate(schema.traits)}
    lines: dict[str, list[TraitLine]] = {}
    for fact in sorted(traits, key=lambda fact: (order.get(fact.key, len(order)), fact.key)):
        held = tuple(past for past in before.get(fact.key, ()) if past.reason != REJECTED)
        line = TraitLine(fact, label_of(schema, fact.key), held)
        lines.setdefault(fact.category or "general", []).append(line)
    for category, found in lines.items():
        yield Group(category.replace("_", " ").capitalize(), tuple(found))


_TYPES = {
    MemoryType.FACT: "Facts",
    MemoryType.PREFERENCE: "Preferences",
    MemoryType.EVENT: "Events",
    MemoryType.CONTEXT: "Context",
}


def _memory_groups(memories: Sequence[Fact], everything: bool) -> Iterator[Group]:
    for kind, name in _TYPES.items():
        found = [memory for memory in memories if memory.key == kind.value]
        if found:
            shown = found if everything else found[:MEMORIES_SHOWN]
            yield Group(name, memories=tuple(shown), more=len(found) - len(shown))


def _events(facts: ProfileFacts, edits: Iterable[Edit], schema: TraitSchema) -> Iterator[Event]:
    """What was said of which day, and what was decided when."""
    for past in facts.history:
        if past.valid_from and past.reason != REJECTED:
            label = label_of(schema, past.key)
            until = f"until {past.valid_to:%-d %b %Y}" if past.valid_to else "no longer"
            yield Event(past.valid_from, "past", f"{label}: {value_text(past.value)}", until, past.key)
    for fact in facts.traits:
        if fact.since and not isinstance(fact.value, list):
            yield Event(fact.since, "trait", f"{label_of(schema, fact.key)}: {value_text(fact.value)}", "", fact.key)
    for memory in facts.memories:
        at = memory.event_at or memory.since
        if at:
            yield Event(at, memory.key, str(memory.value), "", memory.id)
    known = {fact.key for fact in facts.traits}
    for edit in edits:
        key = edit.key if edit.kind is Target.TRAIT else None
        yield Event(edit.at, "decision", decision_line(edit, schema), "", key if key in known else None)


_DID = {
    Action.SET: "set",
    Action.CLEAR: "cleared",
    Action.CONFIRM: "confirmed",
    Action.REJECT: "rejected",
    Action.UNREJECT: "took back the rejection of",
    Action.REVISE: "revised",
    Action.MERGE: "merged another profile into this one",
    Action.SPLIT: "split the profile",
}


def decision_line(edit: Edit, schema: TraitSchema) -> str:
    """``kim confirmed Location: Lisbon``."""
    did = f"{edit.actor} {_DID[edit.action]}"
    if edit.kind is Target.PROFILE:
        return did
    if edit.kind is Target.SUMMARY:
        return f"{did} the summary"
    if edit.kind is Target.MEMORY:
        did = did.replace(" set", " wrote") if edit.action is Action.SET else did
        return f"{did} “{_content(edit)}”"
    label = label_of(schema, edit.key)
    return f"{did} {label}: {value_text(edit.value)}" if edit.value is not None else f"{did} {label}"


def _content(edit: Edit) -> str:
    value = edit.value if isinstance(edit.value, dict) else {}
    return str(value.get("content") or edit.target or "")


def _rejected(stands: Standing, schema: TraitSchema) -> Iterator[Rejected]:
    """Those that stand, the latest first."""
    found = [
        Rejected(key, label_of(schema, key), value_text(edit.value), _as_given(edit.value), edit)
        for (key, _), edit in stands.rejected.items()
    ]
    found += [Rejected(edit.id, "Memory", _content(edit), None, edit) for edit in stands.rejected_memories.values()]
    yield from sorted(found, key=lambda one: one.edit.rank(), reverse=True)


def _as_given(value: Json) -> str:
    """A value in a form's field, as ``decisions`` reads it back."""
    return ("true" if value else "false") if isinstance(value, bool) else str(value)
