"""The first schema: files, documents, people, extractions, folded profiles, the LLM's cache and accounts."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
MOMENT = sa.DateTime(timezone=True)


LINEAGE = """
CREATE VIEW lineage AS
SELECT e.profile_id, e.id AS evidence_id, e.trait_id, e.memory_id,
       COALESCE(t.key, m.type) AS key, o.kind, o.value, o.confidence, o.retracted,
       e.quote, e.start_char, e.end_char, e.occurred_at, o.role, o.effective_at,
       e.observation_id, e.document_id, d.source, d.origin, d.kind AS document_kind, d.native_id, d.metadata,
       f.name AS file, f.sha256 AS file_sha256, d.position, o.fingerprint, x.model, x.extracted_at, x.run_id
FROM evidence e
JOIN observations o ON o.id = e.observation_id
JOIN documents d ON d.id = e.document_id
LEFT JOIN traits t ON t.id = e.trait_id
LEFT JOIN memories m ON m.id = e.memory_id
LEFT JOIN files f ON f.id = d.file_id
LEFT JOIN extractions x ON x.document_id = e.document_id AND x.fingerprint = o.fingerprint
"""
"""Any fact's way back to its record, in one row, for people with a SQL prompt."""


def upgrade() -> None:
    op.create_table(
        "files",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.Column("format", sa.String(length=32), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("mtime", sa.Float(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=True),
        sa.Column("read_with", sa.String(length=64), nullable=False),
        sa.Column("counts", JSON, nullable=False),
        sa.Column("read_at", MOMENT, nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_files")),
        sa.UniqueConstraint("name", name=op.f("uq_files_name")),
    )
    op.create_table(
        "llm_batches",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.String(length=128), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("worker", sa.String(length=36), nullable=False),
        sa.Column("file_id", sa.Text(), nullable=True),
        sa.Column("provider_id", sa.Text(), nullable=True),
        sa.Column("provider_state", sa.String(length=20), nullable=True),
        sa.Column("reason", sa.String(length=80), nullable=True),
        sa.Column("requests", sa.Integer(), nullable=False),
        sa.Column("documents", sa.Integer(), nullable=False),
        sa.Column("answered", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.Column("held_usd", sa.Double(), nullable=False),
        sa.Column("cost_usd", sa.Double(), nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("submitted_at", MOMENT, nullable=True),
        sa.Column("collected_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_llm_batches")),
    )
    op.create_index(op.f("ix_llm_batches_state"), "llm_batches", ["state"], unique=False)
    op.create_table(
        "llm_budget",
        sa.Column("period", sa.String(length=20), nullable=False),
        sa.Column("spent_usd", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("period", name=op.f("pk_llm_budget")),
    )
    op.create_table(
        "llm_cache",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("worker", sa.String(length=36), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("profile_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.Column("finish_reason", sa.String(length=40), nullable=True),
        sa.Column("input_tokens", sa.Integer(), nullable=True),
        sa.Column("output_tokens", sa.Integer(), nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("answered_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_llm_cache")),
    )
    op.create_index(op.f("ix_llm_cache_profile_id"), "llm_cache", ["profile_id"], unique=False)
    op.create_table(
        "llm_calls",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("request_key", sa.String(length=64), nullable=False),
        sa.Column("purpose", sa.String(length=40), nullable=False),
        sa.Column("profile_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("document_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("document_ids", JSON, nullable=True),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.String(length=20), nullable=False),
        sa.Column("status_code", sa.Integer(), nullable=True),
        sa.Column("held_usd", sa.Double(), nullable=False),
        sa.Column("cost_usd", sa.Double(), nullable=True),
        sa.Column("cost_estimated", sa.Boolean(), nullable=False),
        sa.Column("input_tokens", sa.Integer(), nullable=False),
        sa.Column("cached_tokens", sa.Integer(), nullable=False),
        sa.Column("output_tokens", sa.Integer(), nullable=False),
        sa.Column("waited_s", sa.Double(), nullable=False),
        sa.Column("latency_s", sa.Double(), nullable=False),
        sa.Column("worker", sa.String(length=36), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("finished_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_llm_calls")),
    )
    op.create_index(op.f("ix_llm_calls_created_at"), "llm_calls", ["created_at"], unique=False)
    op.create_index(op.f("ix_llm_calls_document_id"), "llm_calls", ["document_id"], unique=False)
    op.create_index(
        "ix_llm_calls_pending",
        "llm_calls",
        ["worker"],
        unique=False,
        sqlite_where=sa.text("outcome = 'pending'"),
        postgresql_where=sa.text("outcome = 'pending'"),
    )
    op.create_index(op.f("ix_llm_calls_profile_id"), "llm_calls", ["profile_id"], unique=False)
    op.create_index(op.f("ix_llm_calls_request_key"), "llm_calls", ["request_key"], unique=False)
    op.create_table(
        "persons",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("namespace", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=True),
        sa.Column("described_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_persons")),
    )
    op.create_table(
        "profiles",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("partition_key", sa.String(length=32), nullable=False),
        sa.Column("bucket", sa.Integer(), nullable=False),
        sa.Column("external_id", sa.String(), nullable=True),
        sa.Column("display_name", sa.String(), nullable=True),
        sa.Column("summary", sa.Text(), nullable=True),
        sa.Column("summary_version", sa.Integer(), nullable=False),
        sa.Column("summary_updated_at", MOMENT, nullable=True),
        sa.Column("merged_into", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("changes", sa.Integer(), nullable=False),
        sa.Column("folded", sa.Integer(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["merged_into"], ["profiles.id"], name=op.f("fk_profiles_merged_into_profiles")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_profiles")),
        sa.UniqueConstraint("external_id", name=op.f("uq_profiles_external_id")),
        sa.UniqueConstraint("partition_key", name=op.f("uq_profiles_partition_key")),
    )
    op.create_index(op.f("ix_profiles_bucket"), "profiles", ["bucket"], unique=False)
    op.create_index(op.f("ix_profiles_merged_into"), "profiles", ["merged_into"], unique=False)
    op.create_index(
        "ix_profiles_unfolded",
        "profiles",
        ["id"],
        unique=False,
        sqlite_where=sa.text("changes <> folded"),
        postgresql_where=sa.text("changes <> folded"),
    )
    op.create_table(
        "identifiers",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("value", sa.String(), nullable=False),
        sa.Column("profile_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("ambiguous", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["profile_id"], ["profiles.id"], name=op.f("fk_identifiers_profile_id_profiles")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identifiers")),
        sa.UniqueConstraint("kind", "value", name=op.f("uq_identifiers_kind_value")),
    )
    op.create_index(op.f("ix_identifiers_profile_id"), "identifiers", ["profile_id"], unique=False)
    op.create_table(
        "llm_batch_documents",
        sa.Column("document_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("batch_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["llm_batches.id"], name=op.f("fk_llm_batch_documents_batch_id_llm_batches")
        ),
        sa.PrimaryKeyConstraint("document_id", name=op.f("pk_llm_batch_documents")),
    )
    op.create_index(op.f("ix_llm_batch_documents_batch_id"), "llm_batch_documents", ["batch_id"], unique=False)
    op.create_table(
        "llm_batch_items",
        sa.Column("batch_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("call_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("profile_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("passages", JSON, nullable=False),
        sa.Column("follow_up", sa.Boolean(), nullable=False),
        sa.Column("outcome", sa.String(length=20), nullable=True),
        sa.ForeignKeyConstraint(["batch_id"], ["llm_batches.id"], name=op.f("fk_llm_batch_items_batch_id_llm_batches")),
        sa.PrimaryKeyConstraint("batch_id", "key", name=op.f("pk_llm_batch_items")),
    )
    op.create_index(op.f("ix_llm_batch_items_profile_id"), "llm_batch_items", ["profile_id"], unique=False)
    op.create_table(
        "memories",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("profile_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("type", sa.String(length=16), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("importance", sa.Float(), nullable=False),
        sa.Column("confidence", sa.Float(), nullable=False),
        sa.Column("occurred_at", MOMENT, nullable=True),
        sa.Column("last_accessed_at", MOMENT, nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["profile_id"], ["profiles.id"], name=op.f("fk_memories_profile_id_profiles")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_memories")),
    )
    op.create_index(op.f("ix_memories_profile_id"), "memories", ["profile_id"], unique=False)
    op.create_table(
        "rejections",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("file_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("position", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(["file_id"], ["files.id"], name=op.f("fk_rejections_file_id_files")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rejections")),
    )
    op.create_index(op.f("ix_rejections_file_id"), "rejections", ["file_id"], unique=False)
    op.create_table(
        "trait_history",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("profile_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("value", JSON, nullable=False),
        sa.Column("confidence", sa.Float(), nullable=False),
        sa.Column("valid_from", MOMENT, nullable=True),
        sa.Column("valid_to", MOMENT, nullable=True),
        sa.Column("observation_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("ended_by", sa.Uuid(as_uuid=False), nullable=False),
        sa.ForeignKeyConstraint(["profile_id"], ["profiles.id"], name=op.f("fk_trait_history_profile_id_profiles")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trait_history")),
    )
    op.create_index(op.f("ix_trait_history_profile_id"), "trait_history", ["profile_id"], unique=False)
    op.create_table(
        "traits",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("profile_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("value", JSON, nullable=False),
        sa.Column("value_type", sa.String(length=16), nullable=False),
        sa.Column("category", sa.String(), nullable=True),
        sa.Column("confidence", sa.Float(), nullable=False),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.Column("valid_from", MOMENT, nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["profile_id"], ["profiles.id"], name=op.f("fk_traits_profile_id_profiles")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_traits")),
        sa.UniqueConstraint("profile_id", "key", name=op.f("uq_traits_profile_id_key")),
    )
    op.create_table(
        "documents",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("record_key", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("identifier_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("profile_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.Column("origin", sa.String(), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("native_id", sa.String(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("segments", JSON, nullable=False),
        sa.Column("metadata", JSON, nullable=False),
        sa.Column("occurred_at", MOMENT, nullable=True),
        sa.Column("modified_at", MOMENT, nullable=True),
        sa.Column("content_hash", sa.String(length=64), nullable=False),
        sa.Column("file_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("position", sa.String(), nullable=True),
        sa.Column("superseded_at", MOMENT, nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("fingerprint", sa.String(length=128), nullable=True),
        sa.Column("wanted", sa.String(length=8), nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(["file_id"], ["files.id"], name=op.f("fk_documents_file_id_files")),
        sa.ForeignKeyConstraint(
            ["identifier_id"], ["identifiers.id"], name=op.f("fk_documents_identifier_id_identifiers")
        ),
        sa.ForeignKeyConstraint(["profile_id"], ["profiles.id"], name=op.f("fk_documents_profile_id_profiles")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_documents")),
    )
    op.create_index(op.f("ix_documents_file_id"), "documents", ["file_id"], unique=False)
    op.create_index(op.f("ix_documents_identifier_id"), "documents", ["identifier_id"], unique=False)
    op.create_index(
        "ix_documents_pending",
        "documents",
        ["profile_id", "source"],
        unique=False,
        sqlite_where=sa.text("state <> 'done' AND superseded_at IS NULL AND profile_id IS NOT NULL"),
        postgresql_where=sa.text("state <> 'done' AND superseded_at IS NULL AND profile_id IS NOT NULL"),
    )
    op.create_index("ix_documents_profile", "documents", ["profile_id", "source"], unique=False)
    op.create_index(op.f("ix_documents_record_key"), "documents", ["record_key"], unique=False)
    op.create_table(
        "person_identifiers",
        sa.Column("person_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("identifier_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("relation", sa.String(length=8), nullable=False),
        sa.ForeignKeyConstraint(
            ["identifier_id"], ["identifiers.id"], name=op.f("fk_person_identifiers_identifier_id_identifiers")
        ),
        sa.ForeignKeyConstraint(["person_id"], ["persons.id"], name=op.f("fk_person_identifiers_person_id_persons")),
        sa.PrimaryKeyConstraint("person_id", "identifier_id", name=op.f("pk_person_identifiers")),
    )
    op.create_index(op.f("ix_person_identifiers_identifier_id"), "person_identifiers", ["identifier_id"], unique=False)
    op.create_table(
        "extractions",
        sa.Column("document_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("fingerprint", sa.String(length=128), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("n_observations", sa.Integer(), nullable=False),
        sa.Column("dropped", JSON, nullable=False),
        sa.Column("calls", sa.Integer(), nullable=False),
        sa.Column("input_tokens", sa.Integer(), nullable=False),
        sa.Column("output_tokens", sa.Integer(), nullable=False),
        sa.Column("cost_usd", sa.Float(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("extracted_at", MOMENT, nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(["document_id"], ["documents.id"], name=op.f("fk_extractions_document_id_documents")),
        sa.PrimaryKeyConstraint("document_id", "fingerprint", name=op.f("pk_extractions")),
    )
    op.create_index(op.f("ix_extractions_run_id"), "extractions", ["run_id"], unique=False)
    op.create_table(
        "observations",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("document_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("fingerprint", sa.String(length=128), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("value", JSON, nullable=False),
        sa.Column("confidence", sa.Float(), nullable=False),
        sa.Column("importance", sa.Float(), nullable=True),
        sa.Column("quote", sa.Text(), nullable=False),
        sa.Column("start_char", sa.Integer(), nullable=False),
        sa.Column("end_char", sa.Integer(), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("native_id", sa.String(), nullable=True),
        sa.Column("said_at", MOMENT, nullable=True),
        sa.Column("effective_at", MOMENT, nullable=True),
        sa.Column("stated", sa.String(), nullable=True),
        sa.Column("retracted", sa.Boolean(), nullable=False),
        sa.Column("superseded", sa.Boolean(), nullable=False),
        sa.Column("rejected", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(["document_id"], ["documents.id"], name=op.f("fk_observations_document_id_documents")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_observations")),
    )
    op.create_index(op.f("ix_observations_document_id"), "observations", ["document_id"], unique=False)
    op.create_table(
        "evidence",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("profile_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("trait_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("memory_id", sa.Uuid(as_uuid=False), nullable=True),
        sa.Column("observation_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("document_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("quote", sa.Text(), nullable=False),
        sa.Column("start_char", sa.Integer(), nullable=False),
        sa.Column("end_char", sa.Integer(), nullable=False),
        sa.Column("value", JSON, nullable=True),
        sa.Column("occurred_at", MOMENT, nullable=True),
        sa.CheckConstraint("(trait_id IS NULL) <> (memory_id IS NULL)", name="ck_evidence_one_fact"),
        sa.ForeignKeyConstraint(["document_id"], ["documents.id"], name=op.f("fk_evidence_document_id_documents")),
        sa.ForeignKeyConstraint(["memory_id"], ["memories.id"], name=op.f("fk_evidence_memory_id_memories")),
        sa.ForeignKeyConstraint(
            ["observation_id"], ["observations.id"], name=op.f("fk_evidence_observation_id_observations")
        ),
        sa.ForeignKeyConstraint(["profile_id"], ["profiles.id"], name=op.f("fk_evidence_profile_id_profiles")),
        sa.ForeignKeyConstraint(["trait_id"], ["traits.id"], name=op.f("fk_evidence_trait_id_traits")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evidence")),
    )
    op.create_index(op.f("ix_evidence_document_id"), "evidence", ["document_id"], unique=False)
    op.create_index(op.f("ix_evidence_memory_id"), "evidence", ["memory_id"], unique=False)
    op.create_index(op.f("ix_evidence_observation_id"), "evidence", ["observation_id"], unique=False)
    op.create_index(op.f("ix_evidence_profile_id"), "evidence", ["profile_id"], unique=False)
    op.create_index(op.f("ix_evidence_trait_id"), "evidence", ["trait_id"], unique=False)
    op.execute(LINEAGE)


def downgrade() -> None:
    op.execute("DROP VIEW lineage")
    op.drop_index(op.f("ix_evidence_trait_id"), table_name="evidence")
    op.drop_index(op.f("ix_evidence_profile_id"), table_name="evidence")
    op.drop_index(op.f("ix_evidence_observation_id"), table_name="evidence")
    op.drop_index(op.f("ix_evidence_memory_id"), table_name="evidence")
    op.drop_index(op.f("ix_evidence_document_id"), table_name="evidence")
    op.drop_table("evidence")
    op.drop_index(op.f("ix_observations_document_id"), table_name="observations")
    op.drop_table("observations")
    op.drop_index(op.f("ix_extractions_run_id"), table_name="extractions")
    op.drop_table("extractions")
    op.drop_index(op.f("ix_person_identifiers_identifier_id"), table_name="person_identifiers")
    op.drop_table("person_identifiers")
    op.drop_index(op.f("ix_documents_record_key"), table_name="documents")
    op.drop_index("ix_documents_profile", table_name="documents")
    op.drop_index(
        "ix_documents_pending",
        table_name="documents",
        sqlite_where=sa.text("state <> 'done' AND superseded_at IS NULL AND profile_id IS NOT NULL"),
        postgresql_where=sa.text("state <> 'done' AND superseded_at IS NULL AND profile_id IS NOT NULL"),
    )
    op.drop_index(op.f("ix_documents_identifier_id"), table_name="documents")
    op.drop_index(op.f("ix_documents_file_id"), table_name="documents")
    op.drop_table("documents")
    op.drop_table("traits")
    op.drop_index(op.f("ix_trait_history_profile_id"), table_name="trait_history")
    op.drop_table("trait_history")
    op.drop_index(op.f("ix_rejections_file_id"), table_name="rejections")
    op.drop_table("rejections")
    op.drop_index(op.f("ix_memories_profile_id"), table_name="memories")
    op.drop_table("memories")
    op.drop_index(op.f("ix_llm_batch_items_profile_id"), table_name="llm_batch_items")
    op.drop_table("llm_batch_items")
    op.drop_index(op.f("ix_llm_batch_documents_batch_id"), table_name="llm_batch_documents")
    op.drop_table("llm_batch_documents")
    op.drop_index(op.f("ix_identifiers_profile_id"), table_name="identifiers")
    op.drop_table("identifiers")
    op.drop_index(
        "ix_profiles_unfolded",
        table_name="profiles",
        sqlite_where=sa.text("changes <> folded"),
        postgresql_where=sa.text("changes <> folded"),
    )
    op.drop_index(op.f("ix_profiles_merged_into"), table_name="profiles")
    op.drop_index(op.f("ix_profiles_bucket"), table_name="profiles")
    op.drop_table("profiles")
    op.drop_table("persons")
    op.drop_index(op.f("ix_llm_calls_request_key"), table_name="llm_calls")
    op.drop_index(op.f("ix_llm_calls_profile_id"), table_name="llm_calls")
    op.drop_index(
        "ix_llm_calls_pending",
        table_name="llm_calls",
        sqlite_where=sa.text("outcome = 'pending'"),
        postgresql_where=sa.text("outcome = 'pending'"),
    )
    op.drop_index(op.f("ix_llm_calls_document_id"), table_name="llm_calls")
    op.drop_index(op.f("ix_llm_calls_created_at"), table_name="llm_calls")
    op.drop_table("llm_calls")
    op.drop_index(op.f("ix_llm_cache_profile_id"), table_name="llm_cache")
    op.drop_table("llm_cache")
    op.drop_table("llm_budget")
    op.drop_index(op.f("ix_llm_batches_state"), table_name="llm_batches")
    op.drop_table("llm_batches")
    op.drop_table("files")
