"""Which edits of a profile stand: not taken back by a later one. Pure; the order of the edits does not count."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from ingest_pipeline.edits import Action, Edit, Target

ClaimRef = tuple[str, str]
"""(trait key, ``claim_key`` of the value)."""


@dataclass(slots=True)
class Standing:
    """``values``: what is set by hand, by trait key. Memories by target. ``summary``: the text that was set."""

    values: dict[str, Edit] = field(default_factory=dict)
    confirmed: dict[ClaimRef, Edit] = field(default_factory=dict)
    rejected: dict[ClaimRef, Edit] = field(default_factory=dict)
    written: dict[str, Edit] = field(default_factory=dict)
    revised: dict[str, Edit] = field(default_factory=dict)
    confirmed_memories: dict[str, Edit] = field(default_factory=dict)
    rejected_memories: dict[str, Edit] = field(default_factory=dict)
    summary: Edit | None = None

    def rejected_of(self, key: str) -> dict[str, Edit]:
        """Rejected values of a trait, by target."""
        return {target: edit for (trait, target), edit in self.rejected.items() if trait == key}

    def is_decided(self, key: str) -> bool:
        """Whether a trait's value is set, or one of its values confirmed."""
        return key in self.values or any(trait == key for trait, _ in self.confirmed)

    def is_memory_decided(self, target: str) -> bool:
        """Whether a memory is written, revised or confirmed by hand."""
        return any(target in held for held in (self.written, self.revised, self.confirmed_memories))


def standing(edits: Iterable[Edit]) -> Standing:
    """The edits that stand."""
    result = Standing()
    for edit in sorted(edits, key=Edit.rank):
        if edit.kind is Target.TRAIT:
            _apply_to_trait(result, edit)
        elif edit.kind is Target.MEMORY:
            _apply_to_memory(result, edit)
        elif edit.kind is Target.SUMMARY:
            result.summary = edit if edit.action is Action.SET else None
    return result


def _apply_to_trait(result: Standing, edit: Edit) -> None:
    reference = (edit.key, edit.target or "")
    match edit.action:
        case Action.SET:
            result.values[edit.key] = edit
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
        case Action.UNREJECT:
            result.rejected.pop(reference, None)


def _apply_to_memory(result: Standing, edit: Edit) -> None:
    target = edit.target or ""
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
