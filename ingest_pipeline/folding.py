"""Folding: profiles whose observations or edits changed get their tables rebuilt, a page of them per transaction."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from sqlalchemy import Engine

from ingest_pipeline.extraction.traits import TraitSchema
from ingest_pipeline.fold import fold, fold_fingerprint
from ingest_pipeline.states import DEFAULT_RULES, Rules
from ingest_pipeline.store.fold_rules import mark_outdated
from ingest_pipeline.store.profiles import Folded, load_unfolded, save_states


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
    for page in load_unfolded(engine, profiles, as_of=moment, changed_only=changed_only):
        states = [(u, fold(u.profile_id, u.observations, u.edits, schema, rules, moment)) for u in page]
        yield from save_states(engine, states, fingerprint)
