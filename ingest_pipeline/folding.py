"""Folding: profiles whose observations or edits changed get their tables rebuilt, a page of them per transaction."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import IntegrityError

from ingest_pipeline.duplicates import candidates
from ingest_pipeline.edits import Target
from ingest_pipeline.extraction.base import Kind
from ingest_pipeline.extraction.traits import TraitSchema
from ingest_pipeline.fold import fold, fold_fingerprint
from ingest_pipeline.fold_processes import can_start_processes, fold_in_processes
from ingest_pipeline.states import DEFAULT_RULES, ProfileState, Rules
from ingest_pipeline.store.definitions import profile_schemas
from ingest_pipeline.store.fold_outcomes import Folded
from ingest_pipeline.store.fold_rules import mark_outdated
from ingest_pipeline.store.profiles import Unfolded, count_unfolded, load_unfolded, save_states, unfolded_ids

Embed: TypeAlias = Callable[[str, Sequence[str]], Mapping[str, Sequence[float]] | None]
"""(profile id, sentences) → vectors by sentence, or None when there are none to be had now."""

BY_WORDS = "by_words"
"""Stands for rules that the store never knows: what is saved under it is folded again."""


MANY = 3_000
"""From so many profiles on, other processes are worth the second that starting them takes."""


def mark_outdated_folds(engine: Engine, schema: TraitSchema, rules: Rules = DEFAULT_RULES) -> bool:
    """Let everything be folded again when the rules are others than last time: another threshold, a trait less, a new
    version of the fold. Returns whether they are."""
    return mark_outdated(engine, fold_fingerprint(schema, rules))


def fold_profiles(
    where: Engine | Connection,
    schema: TraitSchema,
    profiles: Sequence[str] | None = None,
    rules: Rules = DEFAULT_RULES,
    as_of: datetime | None = None,
    changed_only: bool = False,
    embed: Embed | None = None,
    processes: int = 1,
) -> Iterator[Folded]:
    """Fold what changed, or the given profiles (``changed_only``: those of them that did), and yield what that did.

    With a connection the given profiles are folded in its transaction. ``as_of``: now, unless given; what was stated
    for a later day is not in force yet. ``embed`` gives the vectors that ``rules.embedding_model`` asks for. A profile
    that needs some and gets none is folded by words and stays marked as changed, for the next sync. ``processes``: how
    many share the work when very many profiles changed; one when vectors are to be asked for.
    """
    how = _Fold(schema, rules, as_of or datetime.now(UTC))
    if profiles is not None:
        for page in load_unfolded(where, profiles, as_of=how.as_of, changed_only=changed_only):
            yield from how.save(where, page, embed)
        return
    assert isinstance(where, Engine), "all that changed is too much for one transaction"
    mark_outdated(where, how.fingerprint)
    if processes > 1 and not rules.embedding_model and can_start_processes() and _are_many(where, how.as_of):
        yield from fold_in_processes(where, unfolded_ids(where, how.as_of), how.fold, processes)
        return
    for page in load_unfolded(where, as_of=how.as_of):
        yield from how.save(where, page, embed)


def _are_many(engine: Engine, as_of: datetime) -> bool:
    return count_unfolded(engine, as_of, at_most=MANY) >= MANY


@dataclass(frozen=True, slots=True)
class _Fold:
    """By which rules, as of when. Goes to other processes as it is."""

    schema: TraitSchema
    rules: Rules
    as_of: datetime

    @property
    def fingerprint(self) -> str:
        return fold_fingerprint(self.schema, self.rules)

    def fold(self, engine: Engine, ids: list[str]) -> list[Folded]:
        """A page of profiles, by words alone."""
        pages = load_unfolded(engine, ids, as_of=self.as_of)
        return [folded for page in pages for folded in self.save(engine, page, None)]

    def save(self, where: Engine | Connection, page: Sequence[Unfolded], embed: Embed | None) -> list[Folded]:
        try:
            return self._save(where, page, embed)
        except IntegrityError:  # a document that proves something was erased since it was loaded
            if isinstance(where, Connection):  # whoever has the transaction does all of it again
                raise
            again = load_unfolded(where, [u.profile_id for u in page], as_of=self.as_of)
            return [folded for current in again for folded in self._save(where, current, embed)]

    def _save(self, where: Engine | Connection, page: Sequence[Unfolded], embed: Embed | None) -> list[Folded]:
        own = profile_schemas(where, [u.profile_id for u in page if _has_others(u, self.schema)], self.schema)
        complete: list[tuple[Unfolded, ProfileState]] = []
        by_words: list[tuple[Unfolded, ProfileState]] = []
        for u in page:
            vectors = _vectors(u, embed) if self.rules.embedding_model else {}
            schema = own.get(u.profile_id, self.schema)
            state = fold(u.profile_id, u.observations, u.edits, schema, self.rules, self.as_of, vectors)
            (by_words if vectors is None else complete).append((u, state))
        by = self.rules.summary_by
        saved = save_states(where, complete, self.fingerprint, by) if complete else []
        return saved + (save_states(where, by_words, BY_WORDS, by) if by_words else [])


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
