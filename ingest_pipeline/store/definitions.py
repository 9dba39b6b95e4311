"""Which traits single profiles have beside those of the trait schema: those that were given with their texts."""

from collections import defaultdict
from collections.abc import Collection, Iterable

from sqlalchemy import Connection, Engine, select

from ingest_pipeline.documents import Source
from ingest_pipeline.extraction.definitions import extended
from ingest_pipeline.extraction.traits import TraitSchema
from ingest_pipeline.store.engine import reading
from ingest_pipeline.store.tables import DocumentRow
from ingest_pipeline.store.upsert import select_in


def load_definitions(connection: Connection, profiles: Iterable[str]) -> dict[str, list[str]]:
    """By profile, the latest text's last."""
    query = (
        select(DocumentRow.profile_id, DocumentRow.definitions, DocumentRow.occurred_at, DocumentRow.id)
        .where(
            DocumentRow.source == Source.DIRECT.value,
            DocumentRow.definitions.is_not(None),
            DocumentRow.superseded_at.is_(None),
        )
        .order_by(DocumentRow.occurred_at, DocumentRow.id)
    )
    found: dict[str, list[str]] = defaultdict(list)
    for row in select_in(connection, query, DocumentRow.profile_id, sorted(profiles)):
        found[row.profile_id].append(row.definitions)
    return found


def profile_schema(engine: Engine, profile_id: str, schema: TraitSchema) -> TraitSchema:
    """The schema with the traits that were given with this profile's texts."""
    return profile_schemas(engine, [profile_id], schema).get(profile_id, schema)


def profile_schemas(
    where: Engine | Connection, profiles: Collection[str], schema: TraitSchema
) -> dict[str, TraitSchema]:
    """Of those profiles that have traits of their own."""
    if not profiles:
        return {}
    with reading(where) as connection:
        return {p: extended(schema, texts) for p, texts in load_definitions(connection, profiles).items()}
