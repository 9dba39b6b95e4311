"""The sentences said about a person, and what people decided about them, to memories. Pure.

    sentences + hand-written ones ── duplicates.cluster ──▶ clusters ── what still holds ──▶ memories

A memory is a cluster of sentences that say the same. It is named after the one said first, and every sentence in it
goes on leading to it. A retraction ends what was said until then; who says it again later, says it again.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from ingest_pipeline.documents import Json, Role, stable_id
from ingest_pipeline.duplicates import Clusters, cluster
from ingest_pipeline.edits import Action, Edit, claim_key
from ingest_pipeline.evidence import combine, independent
from ingest_pipeline.extraction.base import MemoryType
from ingest_pipeline.states import MAX_CONFIDENCE, FoldedMemory, Observed
from ingest_pipeline.trait_fold import REJECTED_BY_HAND

IMPORTANCE: Mapping[str, float] = {
    MemoryType.FACT: 0.6,
    MemoryType.EVENT: 0.6,
    MemoryType.PREFERENCE: 0.5,
    MemoryType.CONTEXT: 0.3,
}
"""Of a memory whose extractor gave none: the middle of its kind's range."""

_REPEATED = 0.8
"""What several independent documents say is weightier than what one says: of what is missing to 1, half is gained in
the end, a fifth of that half by the second document, and by each further one a fifth of what is left of it."""

_TYPES = tuple(MemoryType)
_NEVER = datetime.max.replace(tzinfo=UTC)


def memory_id(profile_id: str, sentence: str) -> str:
    """The id of a memory named after this sentence. Every sentence of a cluster has one, and it leads there."""
    return stable_id("memory", profile_id, claim_key(sentence))


def fold_memories(
    profile_id: str,
    observed: Sequence[Observed],
    edits: Iterable[Edit],
    rank: Mapping[Role, int],
    vectors: Mapping[str, Sequence[float]] | None = None,
) -> tuple[list[FoldedMemory], dict[str, str]]:
    """The memories, and the observations kept aside with the reason. ``observed`` holds what is in effect, and
    retractions of it; ``vectors`` are embeddings by sentence."""
    standing = _standing(edits)
    sentences = dict.fromkeys(str(o.value) for o in observed)
    sentences |= dict.fromkeys(standing.sentences())
    clusters = cluster(sentences, vectors)
    for edit in standing.revised:
        content = _content(edit)
        if content:
            clusters.add(edit.target or "")
            clusters.join(edit.target or "", claim_key(content))
    members: dict[str, _Cluster] = defaultdict(_Cluster)
    for o in observed:
        members[clusters.find(claim_key(str(o.value)))].observed.append(o)
    for edit in standing.all():
        _assign(edit, clusters, members)
    memories: list[FoldedMemory] = []
    aside: dict[str, str] = {}
    for group in members.values():
        if group.is_rejected:
            aside |= {o.id: REJECTED_BY_HAND for o in group.observed}
            continue
        memory = _fold_cluster(profile_id, group, rank)
        if memory:
            memories.append(memory)
    return memories, aside


@dataclass(slots=True)
class _Standing:
    """The edits that stand, by what they do; of each target the latest."""

    written: list[Edit] = field(default_factory=list)
    revised: list[Edit] = field(default_factory=list)
    confirmed: list[Edit] = field(default_factory=list)
    rejected: list[Edit] = field(default_factory=list)

    def all(self) -> list[Edit]:
        return [*self.written, *self.revised, *self.confirmed, *self.rejected]

    def sentences(self) -> list[str]:
        """What people wrote, and what they decided about, as far as the edit tells its words."""
        return sorted(content for content in map(_content, self.all()) if content)


def _standing(edits: Iterable[Edit]) -> _Standing:
    found: dict[tuple[str, Action], Edit] = {}
    taken_back = {Action.CLEAR: (Action.SET, Action.REVISE, Action.CONFIRM), Action.UNREJECT: (Action.REJECT,)}
    for edit in sorted(edits, key=Edit.rank):
        target = _target(edit)
        for action in taken_back.get(edit.action, ()):
            found.pop((target, action), None)
        if edit.action not in taken_back:
            found[target, edit.action] = edit
    by_action: dict[Action, list[Edit]] = defaultdict(list)
    for edit in sorted(found.values(), key=Edit.rank):
        by_action[edit.action].append(edit)
    return _Standing(*(by_action[a] for a in (Action.SET, Action.REVISE, Action.CONFIRM, Action.REJECT)))


def _content(edit: Edit) -> str | None:
    content = edit.value.get("content") if isinstance(edit.value, dict) else None
    return content if isinstance(content, str) and content.strip() else None


def _target(edit: Edit) -> str:
    return edit.target or claim_key(_content(edit) or "")


@dataclass(slots=True)
class _Cluster:
    """All that was observed and decided about what says the same."""

    observed: list[Observed] = field(default_factory=list)
    edits: list[Edit] = field(default_factory=list)

    @property
    def is_rejected(self) -> bool:
        """Unless somebody wrote it by hand since."""
        latest = max((e for e in self.edits if e.action in (Action.REJECT, Action.SET)), key=Edit.rank, default=None)
        return latest is not None and latest.action is Action.REJECT

    def of(self, action: Action) -> list[Edit]:
        return sorted((edit for edit in self.edits if edit.action is action), key=Edit.rank)


def _assign(edit: Edit, clusters: Clusters, members: dict[str, _Cluster]) -> None:
    """To the cluster of its target, else of its words: the sentence meant may be said in others by now."""
    for key in (_target(edit), claim_key(_content(edit) or "")):
        if key and clusters.knows(key):
            members[clusters.find(key)].edits.append(edit)
            return


def _fold_cluster(profile_id: str, group: _Cluster, rank: Mapping[Role, int]) -> FoldedMemory | None:
    """None when nothing of it holds any more."""
    alive, confirmed = _still_holds(group, rank)
    written, revised = group.of(Action.SET), group.of(Action.REVISE)
    vouched = [*written, *confirmed, *(edit for edit in revised if _content(edit))]
    if not alive and not vouched:
        return None
    latest = max(alive, key=lambda o: _weight(o, rank), default=None)
    # What was confirmed is said by its evidence, as long as there is any.
    by_hand = _by_hand([*written, *revised] if latest else [*vouched, *revised])
    kind = str(by_hand.get("type") or _most_said(alive) or vouched[0].key)
    pieces = independent(alive) if alive else []
    decided = max((*written, *revised, *confirmed), key=Edit.rank, default=None)
    importance = by_hand.get("importance")
    return FoldedMemory(
        id=memory_id(profile_id, _first_sentence(group)),
        type=kind,
        content=str(by_hand.get("content") or (latest.value if latest else "")),
        importance=_importance(kind, alive, len(pieces)) if importance is None else float(importance),
        confidence=MAX_CONFIDENCE if vouched else combine(pieces),
        occurred_at=latest.said_at if latest else decided.at if decided else None,
        event_at=_event_at(alive, rank) if kind == MemoryType.EVENT else None,
        sightings=len(pieces),
        evidence=tuple(sorted(alive, key=lambda o: (o.said, o.id))),
        source="manual" if latest is None or "content" in by_hand else "extracted",
        edit_id=decided.id if decided else None,
    )


def _still_holds(group: _Cluster, rank: Mapping[Role, int]) -> tuple[list[Observed], list[Edit]]:
    """The claims that no retraction ends which was said later, or at the same time by as good a source.

    A confirmation stands against every retraction that came before it; the first after it ends it.
    """
    confirmed = group.of(Action.CONFIRM)
    claimed = [o for o in group.observed if not o.retracted]
    retractions = [o for o in group.observed if o.retracted]
    if confirmed:
        retractions = [o for o in retractions if _ends_at(o) > confirmed[-1].at]
    if not retractions:
        return claimed, confirmed
    ended = max((_ends_at(o), rank.get(o.role, -1)) for o in retractions)
    return [o for o in claimed if (o.said, rank.get(o.role, -1)) > ended], []


def _weight(o: Observed, rank: Mapping[Role, int]) -> tuple[datetime, int, float, str, str]:
    """The latest words, of the best source, are the memory's."""
    return (o.said, rank.get(o.role, -1), o.confidence, str(o.value), o.id)


def _most_said(alive: Sequence[Observed]) -> str | None:
    """The type that most claims have; of equals the first of MemoryType."""
    said = Counter(o.key for o in alive)
    return max(_TYPES, key=lambda t: (said[t], -_TYPES.index(t))).value if said else None


def _ends_at(o: Observed) -> datetime:
    """When a retraction counts: once it is said, or on the later day that it names."""
    return max(o.said, o.effective_at) if o.effective_at else o.said


def _by_hand(edits: Sequence[Edit]) -> dict[str, Json]:
    """What people wrote over it, the later over the earlier."""
    result: dict[str, Json] = {}
    for edit in sorted(edits, key=Edit.rank):
        if edit.action is not Action.REVISE:
            result["type"] = edit.key
        value = edit.value if isinstance(edit.value, dict) else {}
        result |= {name: value[name] for name in ("content", "type", "importance") if value.get(name) is not None}
    return result


def _first_sentence(group: _Cluster) -> str:
    """What was said first, undated words last; without any, what was written first. Retracted or not: a name stays."""
    said = [(o.said_at or _NEVER, claim_key(str(o.value))) for o in group.observed]
    return min(said)[1] if said else _target(min(group.edits, key=Edit.rank))


def _importance(kind: str, alive: Sequence[Observed], sightings: int) -> float:
    given = max((o.importance for o in alive if o.importance is not None), default=IMPORTANCE.get(kind, 0.5))
    gained = (1.0 - given) / 2 * (1.0 - _REPEATED ** max(sightings - 1, 0))
    return round(given + gained, 4)


def _event_at(alive: Sequence[Observed], rank: Mapping[Role, int]) -> datetime | None:
    """The day that was named last."""
    dated = [o for o in alive if o.effective_at]
    return max(dated, key=lambda o: (o.said, rank.get(o.role, -1), o.confidence, o.id)).effective_at if dated else None
