"""Views: what people with a SQL prompt look at. Created by the migrations; typed here for our own queries."""

from sqlalchemy import Boolean, Column, Double, Integer, MetaData, String, Table, Text

from ingest_pipeline.store.base import Id, JsonType, UtcDateTime

lineage = Table(
    "lineage",
    MetaData(),
    Column("profile_id", Id),
    Column("evidence_id", Id),
    Column("trait_id", Id),
    Column("memory_id", Id),
    Column("key", String),
    Column("kind", String),
    Column("value", JsonType),
    Column("confidence", Double),
    Column("retracted", Boolean),
    Column("quote", Text),
    Column("start_char", Integer),
    Column("end_char", Integer),
    Column("occurred_at", UtcDateTime),
    Column("role", String),
    Column("effective_at", UtcDateTime),
    Column("observation_id", Id),
    Column("document_id", Id),
    Column("source", String),
    Column("origin", String),
    Column("document_kind", String),
    Column("native_id", String),
    Column("metadata", JsonType),
    Column("file", String),
    Column("file_sha256", String),
    Column("position", String),
    Column("fingerprint", String),
    Column("model", String),
    Column("extracted_at", UtcDateTime),
    Column("run_id", String),
)
"""A row per piece of evidence: the fact, the observation, the document, the file it was read from."""
