"""Folding: profiles whose observations changed get their tables rebuilt, a page of profiles per transaction."""

from collections.abc import Iterator, Sequence

from sqlalchemy import Engine

from ingest_pipeline.extraction.traits import TraitSchema
from ingest_pipeline.fold import fold
from ingest_pipeline.store.profiles import Folded, load_unfolded, save_states


def fold_profiles(engine: Engine, schema: TraitSchema, profiles: Sequence[str] | None = None) -> Iterator[Folded]:
    """Fold what changed, or the given profiles in any case, and yield what that did to each."""
    for page in load_unfolded(engine, profiles):
        yield from save_states(engine, [(u, fold(u.profile_id, u.observations, schema)) for u in page])
