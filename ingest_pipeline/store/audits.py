"""Questions about the whole store: what failed, what is pending, whether every fact has its evidence."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Engine, exists, func, select

from ingest_pipeline.extraction.traits import TraitSchema, ValueRejected, normalise_value
from ingest_pipeline.store.engine import reading
from ingest_pipeline.store.tables import DocumentRow, Evidence, ExtractionRow, Memory, TraitRow
from ingest_pipeline.store.upsert import select_in


def count_failed(engine: Engine, run_id: str | None = None) -> dict[str, int]:
    """Documents whose latest extraction failed, by reason; with ``run_id`` only those that failed in that run."""
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
    with reading(engine) as connection:
        return {reason or "unknown": count for reason, count in connection.execute(query)}


@dataclass(frozen=True, slots=True)
class EvidenceAudit:
    """``without`` counts facts with no evidence, ``wrong`` evidence whose quote is not at its offsets."""

    facts: int
    evidence: int
    without: int
    wrong: int


def audit_evidence(engine: Engine) -> EvidenceAudit:
    """Check every fact and every quote in the database itself."""
    no_trait = ~exists().where(Evidence.trait_id == TraitRow.id)
    no_memory = ~exists().where(Evidence.memory_id == Memory.id)
    # A manual value needs no sentence: who set it is its evidence.
    traits = select(func.count()).select_from(TraitRow).where(TraitRow.source != "manual")
    memories = select(func.count()).select_from(Memory)
    wrong = (
        select(func.count())
        .select_from(Evidence)
        .join(DocumentRow, DocumentRow.id == Evidence.document_id)
        .where(
            func.substr(DocumentRow.text, Evidence.start_char + 1, Evidence.end_char - Evidence.start_char)
            != Evidence.quote
        )
    )
    with reading(engine) as connection:

        def count(query: object) -> int:
            return int(connection.execute(query).scalar_one())  # type: ignore[call-overload]

        return EvidenceAudit(
            facts=count(traits) + count(memories),
            evidence=count(select(func.count()).select_from(Evidence)),
            without=count(traits.where(no_trait)) + count(memories.where(no_memory)),
            wrong=count(wrong),
        )


def count_invalid_values(engine: Engine, schema: TraitSchema, profiles: Iterable[str] | None = None) -> dict[str, int]:
    """Trait values that the schema does not allow, by trait key."""
    invalid: dict[str, int] = {}
    query = select(TraitRow.key, TraitRow.value).execution_options(yield_per=5_000)
    with reading(engine) as connection:
        rows = (
            connection.execute(query)
            if profiles is None
            else select_in(connection, query, TraitRow.profile_id, profiles)
        )
        for key, value in rows:
            if not _valid(schema, key, value):
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
