"""Decisions about traits: what each records, given what the tables show and what was decided before."""

from collections.abc import Iterable, Iterator

from ingest_pipeline.documents import Json
from ingest_pipeline.editing.base import Decided, Editor, Held, decide
from ingest_pipeline.editing.checks import check_confidence, check_element, check_value, distinct
from ingest_pipeline.edits import Action, Target, claim_key
from ingest_pipeline.errors import InvalidInput
from ingest_pipeline.extraction.traits import Trait, ValueRejected, normalise_value
from ingest_pipeline.store.audit_log import Audited
from ingest_pipeline.store.edits import Draft


def set_trait(editor: Editor, profile_id: str, key: str, value: Json, confidence: Json = None) -> Decided:
    """Set a trait; the value stays, whatever the evidence says, until it is set again or cleared.

    Raises InvalidInput: ``trait_not_found``, ``missing_value``, ``invalid_value_type``, ``invalid_confidence``.
    """
    canonical = check_value(editor.schema_of(profile_id, key), key, value)
    draft = Draft(Action.SET, Target.TRAIT, key, value=canonical, confidence=check_confidence(confidence))
    return decide(editor, profile_id, Audited.SET, lambda _: [draft])


def delete_trait(editor: Editor, profile_id: str, key: str) -> Decided:
    """Make a trait go: what was set is cleared, and every value that is shown or that evidence has is rejected.

    Only a value that nobody has claimed yet can bring the trait back. Raises InvalidInput (``trait_not_found``) when
    the profile has no such trait.
    """

    trait = editor.schema_of(profile_id, key).get(key)

    def plan(held: Held) -> list[Draft]:
        if not held.shown(key):
            raise trait_not_found()
        values = [*held.shown(key), *held.alternatives(key), *_claimed(held, trait)]
        drafts = [*_clearing(held, key), *_rejections(held, key, values)]
        if not drafts:  # somebody was faster, and the tables are about to show it
            raise trait_not_found()
        return drafts

    return decide(editor, profile_id, Audited.DELETE, plan)


def plan_clear(held: Held, trait: Trait) -> list[Draft]:
    if not held.standing.is_decided(trait.key):
        raise InvalidInput("nothing_to_clear", f"{trait.key} was neither set nor confirmed by hand")
    return _clearing(held, trait.key)


def plan_confirm(held: Held, trait: Trait, value: Json) -> list[Draft]:
    """An edit per element. The value of a trait in conflict must be said: confirming both would decide nothing."""
    shown, alternatives = held.shown(trait.key), held.alternatives(trait.key)
    if not shown:
        raise trait_not_found()
    if trait.key in held.standing.values:
        raise InvalidInput("nothing_to_confirm", f"{trait.key} is set by hand, which needs no confirmation")
    if value is None and alternatives:
        raise InvalidInput(
            "missing_value", f"the evidence for {trait.key} disagrees; say which value is right", "value"
        )
    chosen = shown
    if value is not None:
        meant = held.standing.spelling(trait.key, check_element(trait, value))
        chosen = [v for v in (*shown, *alternatives) if held.standing.spelling(trait.key, v) == meant]
    if not chosen:
        raise InvalidInput("value_not_found", f"{trait.key} does not show this value", "value")
    return [Draft(Action.CONFIRM, Target.TRAIT, trait.key, claim_key(v), v) for v in chosen]


def plan_reject(held: Held, trait: Trait, value: Json) -> list[Draft]:
    """An edit per element. What was set by hand goes with it."""
    wrong = held.shown(trait.key) if value is None else [check_element(trait, value)]
    if not wrong:
        raise trait_not_found()
    drafts = list(_rejections(held, trait.key, wrong))
    if not drafts:
        raise InvalidInput("already_rejected", f"this is rejected for {trait.key} already", "value")
    return drafts


def plan_unreject(held: Held, trait: Trait, value: Json) -> list[Draft]:
    """An edit per value that is rejected, as it was written down then."""
    found = [edit for (key, _), edit in held.standing.rejected.items() if key == trait.key]
    if value is not None:
        meant = held.standing.spelling(trait.key, check_element(trait, value))
        found = [edit for edit in found if held.standing.spelling(trait.key, edit.target) == meant]
    if not found:
        raise InvalidInput("not_rejected", f"nothing of that is rejected for {trait.key}; `ingest edits` lists it")
    return [Draft(Action.UNREJECT, Target.TRAIT, trait.key, edit.target, edit.value) for edit in found]


def trait_not_found() -> InvalidInput:
    return InvalidInput("trait_not_found", "this profile has no such trait; `ingest show` lists what it has", "key")


def _clearing(held: Held, key: str) -> list[Draft]:
    return [Draft(Action.CLEAR, Target.TRAIT, key)] if held.standing.is_decided(key) else []


def _rejections(held: Held, key: str, values: Iterable[Json]) -> Iterator[Draft]:
    """For those that are not rejected yet, or set all the same. ``value`` is the spelling, for those who read edits."""
    for value in distinct(values):
        if held.standing.is_set(key, value) or not held.standing.is_rejected(key, value):
            yield Draft(Action.REJECT, Target.TRAIT, key, claim_key(value), value)


def _claimed(held: Held, trait: Trait | None) -> Iterator[Json]:
    """What current observations claim, as the fold reads it."""
    if trait is None:
        return
    for value in held.claimed(trait.key):
        try:
            yield normalise_value(trait, value)
        except ValueRejected:
            continue  # never reaches a profile
