"""How a decision about a profile is carried out: recorded with its audit entry in one transaction, then folded at once.

    plan(what the tables show) ─▶ edits + audit entry ──commit──▶ fold the profile ─▶ the fact before and after

A process that ends between commit and fold loses nothing: the profile is marked as changed, the next sync folds it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from sqlalchemy import Connection, Engine, select

from ingest_pipeline.documents import Json
from ingest_pipeline.editing.standing import Standing, standing
from ingest_pipeline.edits import Edit, Target, claim_key
from ingest_pipeline.errors import InvalidInput
from ingest_pipeline.extraction.base import Kind
from ingest_pipeline.extraction.definitions import extended
from ingest_pipeline.extraction.traits import TraitSchema
from ingest_pipeline.folding import fold_profiles
from ingest_pipeline.states import DEFAULT_RULES, Rules
from ingest_pipeline.store.audit_log import Audited, Via, append, check_actor
from ingest_pipeline.store.definitions import load_definitions, profile_schema
from ingest_pipeline.store.edits import Draft, hold_profile, load_edits, save_edits
from ingest_pipeline.store.engine import write
from ingest_pipeline.store.facts import Fact, ProfileFacts, load_facts
from ingest_pipeline.store.lookup import id_range
from ingest_pipeline.store.memory_ids import find_memories
from ingest_pipeline.store.tables import DocumentRow, Memory, ObservationRow, TraitRow
from ingest_pipeline.store.upsert import select_in

MIN_ID = 4
"""Characters of a memory's id that may stand for it."""


@dataclass(frozen=True, slots=True)
class Editor:
    """Who decides, by what way, and where; ``rules`` as the syncs have them. Safe to use from several threads."""

    engine: Engine
    schema: TraitSchema
    actor: str
    via: Via
    rules: Rules = DEFAULT_RULES

    def schema_of(self, profile_id: str, key: str) -> TraitSchema:
        """The schema; for a trait that it lacks, with those that were given with the profile's own texts."""
        return self.schema if self.schema.get(key) else profile_schema(self.engine, profile_id, self.schema)


@dataclass(frozen=True, slots=True)
class Decided:
    """What was recorded, and the fact as the tables had it before and have it now; ``after`` is None where the decision
    took it away. ``profile`` is the profile after."""

    profile: ProfileFacts
    edits: tuple[Edit, ...]
    before: Fact | None
    after: Fact | None


@dataclass(frozen=True, slots=True)
class ShownMemory:
    """A memory as the tables show it. ``target`` names it in edits."""

    id: str
    type: str
    content: str
    target: str


class Held:
    """What a decision is made on: the tables of one profile, locked against other decisions.

    ``fact``: the trait key or memory id that the plan turned out to be about.
    """

    def __init__(self, connection: Connection, profile_id: str, schema: TraitSchema) -> None:
        self._connection = connection
        self.profile_id = profile_id
        self._schema = schema
        self.fact: str | None = None

    @cached_property
    def edits(self) -> list[Edit]:
        return load_edits(self._connection, self.profile_id)

    @cached_property
    def standing(self) -> Standing:
        return standing(self.edits, self._schema)

    def shown(self, key: str) -> list[Json]:
        """The values that the tables show for a trait: one, or the elements; none without such a trait."""
        return self._trait(key)[0]

    def alternatives(self, key: str) -> list[Json]:
        """The values that the evidence cannot choose between and the one shown."""
        return self._trait(key)[1]

    def _trait(self, key: str) -> tuple[list[Json], list[Json]]:
        query = select(TraitRow.value, TraitRow.alternatives).where(
            TraitRow.profile_id == self.profile_id, TraitRow.key == key
        )
        row = self._connection.execute(query).one_or_none()
        if row is None:
            return [], []
        return row.value if isinstance(row.value, list) else [row.value], row.alternatives or []

    def claimed(self, key: str) -> list[Json]:
        """Every value that current observations claim for a trait, as extracted."""
        query = (
            select(ObservationRow.value)
            .join(DocumentRow, DocumentRow.id == ObservationRow.document_id)
            .where(
                DocumentRow.profile_id == self.profile_id,
                DocumentRow.superseded_at.is_(None),
                ObservationRow.superseded.is_(False),
                ObservationRow.kind == Kind.TRAIT.value,
                ObservationRow.key == key,
            )
        )
        return list(self._connection.execute(query).scalars())

    def memory(self, reference: str) -> ShownMemory:
        """By id, one that it had before other sentences joined it, or the first characters of one.

        Raises InvalidInput: ``memory_not_found``, ``ambiguous_fact``.
        """
        bounds = id_range(reference, MIN_ID)
        if bounds is None:
            raise memory_not_found()
        query = select(Memory.id, Memory.type, Memory.content, Memory.edit_id).where(
            Memory.profile_id == self.profile_id
        )
        rows = list(self._connection.execute(query.where(Memory.id.between(*bounds)).limit(2)))
        if not rows:
            led_to = find_memories(self._connection, self.profile_id, reference)
            rows = list(select_in(self._connection, query, Memory.id.expression, sorted(led_to)))
        if not rows:
            raise memory_not_found()
        if len(rows) > 1:
            raise InvalidInput("ambiguous_fact", "several ids start with these characters; write more of them")
        (row,) = rows
        self.fact = row.id
        by_hand = next((e for e in self.edits if e.id == row.edit_id and e.kind is Target.MEMORY and e.target), None)
        target = by_hand.target if by_hand else None
        return ShownMemory(row.id, row.type, row.content, target or claim_key(row.content))


def memory_not_found() -> InvalidInput:
    return InvalidInput("memory_not_found", "this profile has no such memory; `ingest show` lists ids")


Plan = Callable[[Held], Sequence[Draft]]
"""What a decision records, given what the tables show. Raises InvalidInput when it makes no sense there."""


def decide(editor: Editor, profile_id: str, audited: Audited, plan: Plan) -> Decided:
    """Carry a decision out. Raises ProfileNotFound, InvalidInput."""
    actor = check_actor(editor.actor)
    before = load_facts(editor.engine, profile_id)

    def save(connection: Connection) -> tuple[Held, list[Edit]]:
        living = hold_profile(connection, profile_id)
        own = load_definitions(connection, [living]).get(living, ())
        held = Held(connection, living, extended(editor.schema, own))
        edits = save_edits(connection, living, plan(held), actor)
        first = edits[0]
        detail = {"kind": first.kind.value, "key": first.key, "edits": len(edits)}
        append(connection, actor, editor.via, audited, living, detail, first.at)
        return held, edits

    held, edits = write(editor.engine, save)
    for _ in fold_profiles(editor.engine, editor.schema, [held.profile_id], editor.rules, changed_only=True):
        pass
    after = load_facts(editor.engine, held.profile_id)
    fact = edits[0].key if edits[0].kind is Target.TRAIT else held.fact
    return Decided(after, tuple(edits), _find(before, fact), _find(after, fact) or _made_by(after, edits))


def _find(facts: ProfileFacts, fact: str | None) -> Fact | None:
    """A trait by its key, a memory by its id."""
    for candidate in (*facts.traits, *facts.memories):
        if fact == (candidate.key if candidate.kind == "trait" else candidate.id):
            return candidate
    return None


def _made_by(facts: ProfileFacts, edits: Sequence[Edit]) -> Fact | None:
    """The memory that was written just now."""
    made = {edit.id for edit in edits}
    return next((memory for memory in facts.memories if memory.edit and memory.edit.id in made), None)
