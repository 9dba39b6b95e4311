"""The fold: observations and edits → the state of one profile. A pure function; no clock, no database, no model.

    observations ─┬─ by trait ──── timeline ──▶ values with history, conflicts ┐
                  ├─ sentences ─── duplicates ──▶ memories                      ├──▶ ProfileState
    edits ────────┴─ what people decided goes before                           ┘

The result does not depend on the order of the observations: everything is decided by what they say, when it took effect
(``moments``) and who said it, with a stable key last. Folding twice gives the same. What was stated for a day after
``as_of`` is kept aside until that day.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from ingest_pipeline import duplicates
from ingest_pipeline.documents import Json, Role
from ingest_pipeline.edits import Action, Edit, Target
from ingest_pipeline.extraction.base import Kind
from ingest_pipeline.extraction.traits import TraitSchema, ValueRejected
from ingest_pipeline.memory_fold import fold_memories
from ingest_pipeline.states import FoldedTrait, Observed, PastValue, ProfileState, Rules
from ingest_pipeline.summary import TEMPLATE_VERSION, Remembered, choose_inputs
from ingest_pipeline.trait_fold import fold_trait

FOLD_VERSION = 2
"""Raise it with every change of what the fold makes of the same input: every profile is folded again then."""

NOT_YET = "not_yet"


def fold(
    profile_id: str,
    observations: Iterable[Observed],
    edits: Iterable[Edit],
    schema: TraitSchema,
    rules: Rules,
    as_of: datetime,
    vectors: Mapping[str, Sequence[float]] | None = None,
) -> ProfileState:
    """Fold everything observed and decided about one profile, as of a moment.

    ``vectors``: embeddings by memory sentence, for those that words alone do not bring together.
    """
    rank = {role: len(rules.source_rank) - n for n, role in enumerate(rules.source_rank)}
    rejected: dict[str, str] = {}
    by_trait: dict[str, list[tuple[Observed, Json]]] = defaultdict(list)
    sentences: list[Observed] = []
    pending: list[datetime] = []
    for observed in observations:
        is_memory = observed.kind is Kind.MEMORY
        # An event to come is remembered now; what it will change is not.
        if observed.effective_at and observed.effective_at > as_of and (observed.retracted or not is_memory):
            rejected[observed.id] = NOT_YET
            pending.append(observed.effective_at)
        elif is_memory:
            sentences.append(observed)
        else:
            _take(observed, schema, by_trait, rejected)
    decided = _by_kind(edits)
    traits, history = _fold_traits(profile_id, schema, by_trait, decided[Target.TRAIT], rank, rejected)
    memories, aside = fold_memories(profile_id, sentences, decided[Target.MEMORY], rank, vectors)
    return ProfileState(
        traits=tuple(sorted(traits, key=lambda t: t.id)),
        history=tuple(sorted(history, key=lambda h: h.id)),
        memories=tuple(sorted(memories, key=lambda m: m.id)),
        rejected=rejected | aside,
        refold_at=min(pending, default=None),
        summary=_summary(decided[Target.SUMMARY]),
        about=choose_inputs(
            {trait.key: trait.value for trait in traits},
            [Remembered(m.id, m.content, m.importance, m.occurred_at) for m in memories],
            schema,
        ),
    )


def fold_fingerprint(schema: TraitSchema, rules: Rules) -> str:
    """SHA-256 (hex) over what decides the fold beside its input: its code, the schema's values, thresholds, synonyms
    and labels, the rank of sources, how memories are clustered, how a summary is put. Where it differs, everything is
    to be folded again."""
    traits = [
        [
            t.key, t.value_type, list(t.enum_values), t.category, t.extraction.enabled,
            t.extraction.confidence_threshold, {value: sorted(others) for value, others in t.synonyms.items()},
            t.label, t.injection.enabled, t.injection.priority,
        ]
        for t in sorted(schema.traits, key=lambda trait: trait.key)
    ]  # fmt: skip
    clustering = [duplicates.MIN_SIMILARITY, duplicates.MIN_COSINE, rules.embedding_model]
    decisive = [
        FOLD_VERSION,
        TEMPLATE_VERSION,
        rules.summary_by,
        traits,
        [role.value for role in rules.source_rank],
        clustering,
    ]
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def _take(
    observed: Observed,
    schema: TraitSchema,
    by_trait: dict[str, list[tuple[Observed, Json]]],
    rejected: dict[str, str],
) -> None:
    """A claim with its canonical value to its trait, if it is allowed and sure enough."""
    try:
        value = schema.normalise(observed.key, observed.value)
    except ValueRejected as rejection:
        rejected[observed.id] = rejection.reason
        return
    trait = schema.get(observed.key)
    if trait and observed.confidence >= trait.extraction.confidence_threshold:
        by_trait[observed.key].append((observed, value))


def _fold_traits(
    profile_id: str,
    schema: TraitSchema,
    by_trait: Mapping[str, Sequence[tuple[Observed, Json]]],
    edits: Sequence[Edit],
    rank: Mapping[Role, int],
    rejected: dict[str, str],
) -> tuple[list[FoldedTrait], list[PastValue]]:
    decided: dict[str, list[Edit]] = defaultdict(list)
    for edit in edits:
        decided[edit.key].append(edit)
    traits: list[FoldedTrait] = []
    history: list[PastValue] = []
    for key in by_trait.keys() | decided.keys():
        trait = schema.get(key)
        if trait is None:  # the schema no longer has what was set
            continue
        folded, past, aside = fold_trait(profile_id, trait, by_trait.get(key, ()), decided.get(key, ()), rank)
        traits += [folded] if folded else []
        history += past
        rejected |= aside
    return traits, history


def _by_kind(edits: Iterable[Edit]) -> dict[Target, list[Edit]]:
    found: dict[Target, list[Edit]] = defaultdict(list)
    for edit in edits:
        found[edit.kind].append(edit)
    return found


def _summary(edits: Sequence[Edit]) -> str | None:
    latest = max(edits, key=Edit.rank, default=None)
    return str(latest.value) if latest and latest.action is Action.SET else None
