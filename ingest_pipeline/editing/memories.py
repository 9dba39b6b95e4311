"""Decisions about memories: what each records, given what the tables show and what was decided before."""

from collections.abc import Mapping

from ingest_pipeline.documents import Json
from ingest_pipeline.editing.base import MIN_ID, Decided, Editor, Held, ShownMemory, decide, memory_not_found
from ingest_pipeline.editing.checks import check_content, check_importance, check_memory_type
from ingest_pipeline.edits import Action, Edit, Target, claim_key
from ingest_pipeline.errors import InvalidInput
from ingest_pipeline.extraction.base import MemoryType
from ingest_pipeline.store.audit_log import Audited
from ingest_pipeline.store.edits import Draft
from ingest_pipeline.store.lookup import ID_DIGITS, id_range

IMPORTANCE: Mapping[MemoryType, float] = {
    MemoryType.FACT: 0.8,
    MemoryType.EVENT: 0.7,
    MemoryType.PREFERENCE: 0.6,
    MemoryType.CONTEXT: 0.4,
}
"""Of a memory written without one: the top of its kind's range, since somebody took the trouble."""


def add_memory(
    editor: Editor, profile_id: str, content: Json, kind: Json = MemoryType.FACT, importance: Json = None
) -> Decided:
    """Write a memory. It stays until it is rejected or cleared; evidence for the same sentence adds to it.

    A sentence that was rejected before is there again. Raises InvalidInput: ``invalid_content``,
    ``invalid_memory_type``, ``invalid_importance``.
    """
    sentence, of_type, weight = check_content(content), check_memory_type(kind), check_importance(importance)
    target = claim_key(sentence)
    value = {
        "content": sentence,
        "type": of_type.value,
        "importance": IMPORTANCE[of_type] if weight is None else weight,
    }
    draft = Draft(Action.SET, Target.MEMORY, of_type.value, target, value)
    return decide(editor, profile_id, Audited.REMEMBER, lambda _: [draft])


def revise_memory(
    editor: Editor, profile_id: str, reference: str, content: Json = None, kind: Json = None, importance: Json = None
) -> Decided:
    """Put a memory into other words, or give it another type or importance; its evidence stays with it.

    What an earlier revision changed and this one leaves out stays so. Raises InvalidInput: ``memory_not_found``,
    ``invalid_content``, ``invalid_memory_type``, ``invalid_importance``.
    """
    if content is None and kind is None and importance is None:
        raise InvalidInput("invalid_content", "say what is to change: the sentence, its type or its importance")
    change: dict[str, Json] = {
        "content": None if content is None else check_content(content),
        "type": None if kind is None else check_memory_type(kind).value,
        "importance": check_importance(importance),
    }

    def plan(held: Held) -> list[Draft]:
        memory = held.memory(reference)
        earlier = held.standing.revised.get(memory.target)
        before = earlier.value if earlier else {}
        value = before | {name: new for name, new in change.items() if new is not None}
        return [Draft(Action.REVISE, Target.MEMORY, memory.type, memory.target, value)]

    return decide(editor, profile_id, Audited.REVISE, plan)


def delete_memory(editor: Editor, profile_id: str, reference: str) -> Decided:
    """As ``reject``, by a whole id: neither the sentence nor a near duplicate comes back. Raises InvalidInput."""
    if id_range(reference, ID_DIGITS) is None:
        raise memory_not_found()
    return decide(editor, profile_id, Audited.DELETE, lambda held: plan_reject(held, reference))


def plan_clear(held: Held, reference: str) -> list[Draft]:
    memory = held.memory(reference)
    if not held.standing.is_memory_decided(memory.target):
        raise InvalidInput("nothing_to_clear", "this memory was not written, revised or confirmed by hand")
    return [Draft(Action.CLEAR, Target.MEMORY, memory.type, memory.target)]


def plan_confirm(held: Held, reference: str) -> list[Draft]:
    return [_draft(held.memory(reference), Action.CONFIRM)]


def plan_reject(held: Held, reference: str) -> list[Draft]:
    return [_draft(held.memory(reference), Action.REJECT)]


def plan_unreject(held: Held, reference: str) -> list[Draft]:
    """The tables no longer have it: found by the id it had, by that of the edit, or by its sentence."""
    found = [edit for target, edit in held.standing.rejected_memories.items() if _is_meant(edit, target, reference)]
    if len(found) > 1:
        raise InvalidInput("ambiguous_fact", "several ids start with these characters; write more of them")
    if not found:
        raise InvalidInput("not_rejected", "no such memory is rejected; `ingest edits` lists what is")
    (edit,) = found
    held.fact = (edit.value or {}).get("id")
    return [Draft(Action.UNREJECT, Target.MEMORY, edit.key, edit.target, edit.value)]


def _is_meant(edit: Edit, target: str, reference: str) -> bool:
    ids = (edit.id, str((edit.value or {}).get("id", "")))
    start = reference.strip().lower()
    return target == claim_key(reference) or (len(start) >= MIN_ID and any(i.startswith(start) for i in ids))


def _draft(memory: ShownMemory, action: Action) -> Draft:
    """With the sentence and id as shown, for people who read the edits, and for ``unreject``."""
    return Draft(action, Target.MEMORY, memory.type, memory.target, {"content": memory.content, "id": memory.id})
