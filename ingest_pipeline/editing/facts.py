"""Decisions about either kind of fact. ``reference`` is a trait key of the schema, or a memory's id or its start."""

import re
from collections.abc import Callable

from ingest_pipeline.documents import Json
from ingest_pipeline.editing import memories, traits
from ingest_pipeline.editing.base import Decided, Editor, Held, Plan, decide
from ingest_pipeline.editing.checks import refuse_value
from ingest_pipeline.errors import InvalidInput
from ingest_pipeline.extraction.traits import Trait
from ingest_pipeline.store.audit_log import Audited
from ingest_pipeline.store.edits import Draft


def clear(editor: Editor, profile_id: str, reference: str) -> Decided:
    """Take back what was set, confirmed, written or revised by hand: the evidence decides again.

    Raises InvalidInput: ``nothing_to_clear``, ``fact_not_found``, ``memory_not_found``.
    """
    trait = _trait(editor, profile_id, reference)
    plan: Plan = (
        (lambda held: traits.plan_clear(held, trait)) if trait else (lambda held: memories.plan_clear(held, reference))
    )
    return decide(editor, profile_id, Audited.CLEAR, plan)


def confirm(editor: Editor, profile_id: str, reference: str, value: Json = None) -> Decided:
    """Say that a fact is right: only newer evidence may end it.

    ``value``: of an array trait only this element, of a trait in conflict the value that is right, of another one what
    it must show. Raises InvalidInput: ``trait_not_found``, ``memory_not_found``, ``missing_value``,
    ``value_not_found``, ``nothing_to_confirm``.
    """
    trait = _trait(editor, profile_id, reference)
    plan = _plan_for(trait, reference, value, traits.plan_confirm, memories.plan_confirm)
    return decide(editor, profile_id, Audited.CONFIRM, plan)


def reject(editor: Editor, profile_id: str, reference: str, value: Json = None) -> Decided:
    """Say that a fact is wrong: it does not come back, from old or new evidence, until it is un-rejected.

    A trait falls back to what else the evidence says. ``value``: only this element, or this value even though it is not
    shown. What was set by hand goes with it. Raises InvalidInput: ``trait_not_found``, ``memory_not_found``,
    ``invalid_value_type``, ``already_rejected``.
    """
    trait = _trait(editor, profile_id, reference)
    plan = _plan_for(trait, reference, value, traits.plan_reject, memories.plan_reject)
    return decide(editor, profile_id, Audited.REJECT, plan)


def unreject(editor: Editor, profile_id: str, reference: str, value: Json = None) -> Decided:
    """Take rejections back: all of a trait or of one value; of a memory by the id it had, the edit's, or its words.

    Raises InvalidInput: ``not_rejected``.
    """
    trait = editor.schema_of(profile_id, reference).get(reference)
    plan = _plan_for(trait, reference, value, traits.plan_unreject, memories.plan_unreject)
    return decide(editor, profile_id, Audited.UNREJECT, plan)


def _trait(editor: Editor, profile_id: str, reference: str) -> Trait | None:
    """The trait of this key; None for what can be a memory's id. Raises InvalidInput (``fact_not_found``)."""
    schema = editor.schema_of(profile_id, reference)
    trait = schema.get(reference)
    if trait is None and not _LIKE_AN_ID.fullmatch(reference):
        known = ", ".join(one.key for one in schema.traits)
        raise InvalidInput(
            "fact_not_found",
            f"that is no trait and no memory's id; the traits: {known}; `ingest show` lists ids",
            "key",
        )
    return trait


_LIKE_AN_ID = re.compile(r"[0-9a-fA-F-]+")


def _plan_for(
    trait: Trait | None,
    reference: str,
    value: Json,
    of_trait: Callable[[Held, Trait, Json], list[Draft]],
    of_memory: Callable[[Held, str], list[Draft]],
) -> Plan:
    if trait:
        return lambda held: of_trait(held, trait, value)
    refuse_value(value)
    return lambda held: of_memory(held, reference)
