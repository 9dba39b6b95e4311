"""Folding: profiles whose observations or edits changed get their tables rebuilt, a page of them per transaction."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError

from ingest_pipeline.extraction.traits import TraitSchema
from ingest_pipeline.fold import fold, fold_fingerprint
from ingest_pipeline.states import DEFAULT_RULES, Rules
from ingest_pipeline.store.fold_rules import mark_outdated
from ingest_pipeline.store.profiles import Folded, Unfolded, load_unfolded, save_states


def mark_outdated_folds(engine: Engine, schema: TraitSchema, rules: Rules = DEFAULT_RULES) -> bool:
    """Let everything be folded again when the rules are others than last time: another threshold, a trait less, a new
    version of the fold. Returns whether they are."""
    return mark_outdated(engine, fold_fingerprint(schema, rules))


def fold_profiles(
    engine: Engine,
    schema: TraitSchema,
    profiles: Sequence[str] | None = None,
    rules: Rules = DEFAULT_RULES,
    as_of: datetime | None = None,
    changed_only: bool = False,
) -> Iterator[Folded]:
    """Fold what changed, or the given profiles (``changed_only``: those of them that did), and yield what that did.

    ``as_of``: now, unless given; what was stated for a later day is not in force yet.
    """
    moment = as_of or datetime.now(UTC)
    fingerprint = fold_fingerprint(schema, rules)
    if profiles is None:
        mark_outdated(engine, fingerprint)

    def save(page: Sequence[Unfolded]) -> list[Folded]:
        states = [(u, fold(u.profile_id, u.observations, u.edits, schema, rules, moment)) for u in page]
        return save_states(engine, states, fingerprint)

    for page in load_unfolded(engine, profiles, as_of=moment, changed_only=changed_only):
        try:
            yield from save(page)
        except IntegrityError:  # a document that proves something was erased since it was loaded
            for current in load_unfolded(engine, [u.profile_id for u in page], as_of=moment):
                yield from save(current)
