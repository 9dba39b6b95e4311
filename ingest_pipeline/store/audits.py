"""Questions about the whole store: what failed, what is pending, whether every fact has its evidence."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Engine, exists, func, select, true

from ingest_pipeline.extraction.traits import TraitSchema, ValueRejected, normalise_value
from ingest_pipeline.store.definitions import profile_schemas
from ingest_pipeline.store.engine import reading
from ingest_pipeline.store.extractions import given_up
from ingest_pipeline.store.tables import DocumentRow, Evidence, ExtractionRow, Memory, Profile, TraitRow


def count_failed(engine: Engine, run_id: str | None = None, max_attempts: int | None = None) -> dict[str, int]:
    """Documents whose latest extraction failed, by reason; with ``run_id`` only those that failed in that run.

    With ``max_attempts`` only those that syncs do not try any more.
    """
    query = (
        select(ExtractionRow.reason, func.count())
        .join(DocumentRow, DocumentRow.id == ExtractionRow.document_id)
        .where(
            DocumentRow.state == "failed",
            DocumentRow.fingerprint == ExtractionRow.fingerprint,
            DocumentRow.superseded_at.is_(None),
            DocumentRow.profile_id.is_not(None),
        )
        .group_by(ExtractionRow.reason)
        .order_by(func.count().desc())
    )
    if run_id:
        query = query.where(ExtractionRow.run_id == run_id)
    if max_attempts is not None:
        query = query.where(*given_up(max_attempts))
    with reading(engine) as connection:
        return {reason or "unknown": count for reason, count in connection.execute(query)}


@dataclass(frozen=True, slots=True)
class EvidenceAudit:
    """``without`` counts facts with no evidence, ``wrong`` evidence whose quote is not at its offsets."""

    facts: int
    evidence: int
    without: int
    wrong: int


def audit_evidence(engine: Engine, since: datetime | None = None) -> EvidenceAudit:
    """Check facts and quotes in the database itself: all, or those of the profiles folded ``since`` then."""
    no_trait = ~exists().where(Evidence.trait_id == TraitRow.id)
    no_memory = ~exists().where(Evidence.memory_id == Memory.id)
    # What is manual needs no sentence: who set or wrote it is its evidence.
    traits = select(func.count()).select_from(TraitRow).where(TraitRow.source != "manual", _folded(TraitRow, since))
    memories = select(func.count()).select_from(Memory).where(Memory.source != "manual", _folded(Memory, since))
    evidence = select(func.count()).select_from(Evidence).where(_folded(Evidence, since))
    wrong = (
        select(func.count())
        .select_from(Evidence)
        .join(DocumentRow, DocumentRow.id == Evidence.document_id)
        .where(
            _folded(Evidence, since),
            func.substr(DocumentRow.text, Evidence.start_char + 1, Evidence.end_char - Evidence.start_char)
            != Evidence.quote,
        )
    )
    with reading(engine) as connection:

        def count(query: object) -> int:
            return int(connection.execute(query).scalar_one())  # type: ignore[call-overload]

        return EvidenceAudit(
            facts=count(traits) + count(memories),
            evidence=count(evidence),
            without=count(traits.where(no_trait)) + count(memories.where(no_memory)),
            wrong=count(wrong),
        )


def _folded(table: type[TraitRow | Memory | Evidence], since: datetime | None) -> ColumnElement[bool]:
    if since is None:
        return true()
    return table.profile_id.in_(select(Profile.id).where(Profile.updated_at >= since))


def count_invalid_values(engine: Engine, schema: TraitSchema, since: datetime | None = None) -> dict[str, int]:
    """Trait values that the schema does not allow, by trait key: of all profiles, or of those folded ``since`` then."""
    invalid: dict[str, int] = {}
    query = select(TraitRow.profile_id, TraitRow.key, TraitRow.value).where(_folded(TraitRow, since))
    with reading(engine) as connection:
        for rows in connection.execute(query.execution_options(yield_per=5_000)).partitions():
            own = profile_schemas(engine, {row.profile_id for row in rows if schema.get(row.key) is None}, schema)
            for profile, key, value in rows:
                if not _valid(own.get(profile, schema), key, value):
                    invalid[key] = invalid.get(key, 0) + 1
    return invalid


def _valid(schema: TraitSchema, key: str, value: object) -> bool:
    trait = schema.get(key)
    if trait is None:
        return False
    elements = value if trait.value_type == "array" and isinstance(value, list) else [value]
    try:
        return all(normalise_value(trait, element) == element for element in elements)
    except ValueRejected:
        return False
