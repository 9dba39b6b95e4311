"""Which edits of a profile stand: not taken back by a later one. Pure; the order of the edits does not count."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from ingest_pipeline.documents import Json
from ingest_pipeline.edits import Action, Edit, Target, claim_key
from ingest_pipeline.extraction.traits import TraitSchema
from ingest_pipeline.trait_fold import element_key, value_key

ClaimRef = tuple[str, str]
"""A trait's key, and what spellings of the value share."""


@dataclass(slots=True)
class Standing:
    """``values``: what is set by hand, by trait key and spelling. Memories by target. ``summary``: the one written."""

    schema: TraitSchema
    values: dict[str, dict[str, Json]] = field(default_factory=dict)
    confirmed: dict[ClaimRef, Edit] = field(default_factory=dict)
    rejected: dict[ClaimRef, Edit] = field(default_factory=dict)
    written: dict[str, Edit] = field(default_factory=dict)
    revised: dict[str, Edit] = field(default_factory=dict)
    confirmed_memories: dict[str, Edit] = field(default_factory=dict)
    rejected_memories: dict[str, Edit] = field(default_factory=dict)
    summary: Edit | None = None

    def spelling(self, key: str, value: Json) -> str:
        """What spellings of a trait's value share, as the fold compares them."""
        trait = self.schema.get(key)
        return element_key(value) if trait and trait.value_type == "array" else value_key(value)

    def is_rejected(self, key: str, value: Json) -> bool:
        return (key, self.spelling(key, value)) in self.rejected

    def is_set(self, key: str, value: Json) -> bool:
        """Whether somebody set the trait to this, or to a list with it."""
        return self.spelling(key, value) in self.values.get(key, {})

    def is_decided(self, key: str) -> bool:
        """Whether a trait's value is set, or one of its values confirmed."""
        return key in self.values or any(trait == key for trait, _ in self.confirmed)

    def is_memory_decided(self, target: str) -> bool:
        """Whether a memory is written, revised or confirmed by hand."""
        return any(target in held for held in (self.written, self.revised, self.confirmed_memories))


def standing(edits: Iterable[Edit], schema: TraitSchema) -> Standing:
    """The edits that stand."""
    result = Standing(schema)
    for edit in sorted(edits, key=Edit.rank):
        if edit.kind is Target.TRAIT:
            _apply_to_trait(result, edit)
        elif edit.kind is Target.MEMORY:
            _apply_to_memory(result, edit)
        elif edit.kind is Target.SUMMARY:
            result.summary = edit if edit.action is Action.SET else None
    return result


def _apply_to_trait(result: Standing, edit: Edit) -> None:
    spelling = result.spelling(edit.key, edit.target or "")
    reference = (edit.key, spelling)
    match edit.action:
        case Action.SET:
            values = edit.value if isinstance(edit.value, list) else [edit.value]
            result.values[edit.key] = {result.spelling(edit.key, value): value for value in values}
        case Action.CLEAR:
            result.values.pop(edit.key, None)
            for confirmed in [c for c in result.confirmed if c[0] == edit.key]:
                del result.confirmed[confirmed]
        case Action.CONFIRM:
            result.confirmed[reference] = edit
            result.rejected.pop(reference, None)
        case Action.REJECT:
            result.rejected[reference] = edit
            result.confirmed.pop(reference, None)
            left = result.values.get(edit.key, {})
            left.pop(spelling, None)
            if not left:
                result.values.pop(edit.key, None)
        case Action.UNREJECT:
            result.rejected.pop(reference, None)


def _apply_to_memory(result: Standing, edit: Edit) -> None:
    target = edit.target or claim_key((edit.value or {}).get("content", ""))
    match edit.action:
        case Action.SET:
            result.written[target] = edit
        case Action.REVISE:
            result.revised[target] = edit
        case Action.CONFIRM:
            result.confirmed_memories[target] = edit
        case Action.CLEAR:
            for held in (result.written, result.revised, result.confirmed_memories):
                held.pop(target, None)
        case Action.REJECT:
            result.rejected_memories[target] = edit
        case Action.UNREJECT:
            result.rejected_memories.pop(target, None)
