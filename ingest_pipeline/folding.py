"""Folding: profiles whose observations or edits changed get their tables rebuilt, a page of them per transaction."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeAlias

from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError

from ingest_pipeline.duplicates import candidates
from ingest_pipeline.edits import Target
from ingest_pipeline.extraction.base import Kind
from ingest_pipeline.extraction.traits import TraitSchema
from ingest_pipeline.fold import fold, fold_fingerprint
from ingest_pipeline.states import DEFAULT_RULES, ProfileState, Rules
from ingest_pipeline.store.definitions import profile_schemas
from ingest_pipeline.store.fold_rules import mark_outdated
from ingest_pipeline.store.profiles import Folded, Unfolded, load_unfolded, save_states

Embed: TypeAlias = Callable[[str, Sequence[str]], Mapping[str, Sequence[float]] | None]
"""(profile id, sentences) → vectors by sentence, or None when there are none to be had now."""

BY_WORDS = "by_words"
"""Stands for rules that the store never knows: what is saved under it is folded again."""


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
    embed: Embed | None = None,
) -> Iterator[Folded]:
    """Fold what changed, or the given profiles (``changed_only``: those of them that did), and yield what that did.

    ``as_of``: now, unless given; what was stated for a later day is not in force yet. ``embed`` gives the vectors that
    ``rules.embedding_model`` asks for. A profile that needs some and gets none is folded by words and stays marked as
    changed, for the next sync.
    """
    moment = as_of or datetime.now(UTC)
    fingerprint = fold_fingerprint(schema, rules)
    if profiles is None:
        mark_outdated(engine, fingerprint)

    def save(page: Sequence[Unfolded]) -> list[Folded]:
        own = profile_schemas(engine, [u.profile_id for u in page if _has_others(u, schema)], schema)
        complete: list[tuple[Unfolded, ProfileState]] = []
        by_words: list[tuple[Unfolded, ProfileState]] = []
        for u in page:
            vectors = _vectors(u, embed) if rules.embedding_model else {}
            state = fold(u.profile_id, u.observations, u.edits, own.get(u.profile_id, schema), rules, moment, vectors)
            (by_words if vectors is None else complete).append((u, state))
        saved = save_states(engine, complete, fingerprint) if complete else []
        return saved + (save_states(engine, by_words, BY_WORDS) if by_words else [])

    for page in load_unfolded(engine, profiles, as_of=moment, changed_only=changed_only):
        try:
            yield from save(page)
        except IntegrityError:  # a document that proves something was erased since it was loaded
            for current in load_unfolded(engine, [u.profile_id for u in page], as_of=moment):
                yield from save(current)


def _has_others(unfolded: Unfolded, schema: TraitSchema) -> bool:
    """Whether there are claims or decisions about traits that are not the schema's: given with a text, perhaps."""
    claimed = (o.key for o in unfolded.observations if o.kind is Kind.TRAIT)
    decided = (e.key for e in unfolded.edits if e.kind is Target.TRAIT)
    return any(schema.get(key) is None for key in (*claimed, *decided))


def _vectors(unfolded: Unfolded, embed: Embed | None) -> Mapping[str, Sequence[float]] | None:
    """None when they are wanted and not to be had."""
    sentences = candidates(str(o.value) for o in unfolded.observations if o.kind is Kind.MEMORY)
    if not sentences:
        return {}
    return embed(unfolded.profile_id, sentences) if embed else None
