"""Edits by hand, conflicts, summaries, the audit log, what was erased, uploads."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
MOMENT = sa.DateTime(timezone=True)
ID = sa.Uuid(as_uuid=False)

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

APPEND_ONLY = ("UPDATE", "DELETE")
"""What nobody may do to ``audit_log``."""


def upgrade() -> None:
    # The view names columns of tables that SQLite rebuilds.
    op.execute("DROP VIEW lineage")
    _create_tables()
    _create_upload_tables()
    _add_columns()
    _protect_audit_log()
    # Nothing looks calls up by it, and every call paid for it.
    op.drop_index(op.f("ix_llm_calls_request_key"), "llm_calls")
    op.execute(LINEAGE)


def _create_tables() -> None:
    op.create_table(
        "edits",
        sa.Column("id", ID, nullable=False),
        sa.Column("profile_id", ID, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("action", sa.String(length=16), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("target", sa.Text(), nullable=True),
        sa.Column("value", JSON, nullable=True),
        sa.Column("confidence", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["profile_id"], ["profiles.id"], name=op.f("fk_edits_profile_id_profiles")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_edits")),
    )
    op.create_index(op.f("ix_edits_profile_id"), "edits", ["profile_id"])
    op.create_table(
        "audit_log",
        sa.Column("id", ID, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("via", sa.String(length=8), nullable=False),
        sa.Column("action", sa.String(length=16), nullable=False),
        sa.Column("profile_id", ID, nullable=True),
        sa.Column("detail", JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_log")),
    )
    op.create_index(op.f("ix_audit_log_at"), "audit_log", ["at"])
    op.create_index(op.f("ix_audit_log_profile_id"), "audit_log", ["profile_id"])
    op.create_table(
        "erased",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("erasure_id", ID, nullable=False),
        sa.Column("erased_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_erased")),
    )
    op.create_index(op.f("ix_erased_erasure_id"), "erased", ["erasure_id"])
    op.create_table(
        "store_state",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("value", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_store_state")),
    )


def _create_upload_tables() -> None:
    op.create_table(
        "uploads",
        sa.Column("id", ID, nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("stored", sa.Integer(), nullable=False),
        sa.Column("rejected", sa.Integer(), nullable=False),
        sa.Column("extracted", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.Column("problem", sa.String(length=64), nullable=True),
        sa.Column("claimed_by", ID, nullable=True),
        sa.Column("claimed_until", MOMENT, nullable=True),
        sa.Column("turn_at", MOMENT, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("ended_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_uploads")),
    )
    not_done = sa.text("state <> 'done'")
    op.create_index("ix_uploads_open", "uploads", ["turn_at"], sqlite_where=not_done, postgresql_where=not_done)
    op.create_table(
        "upload_lines",
        sa.Column("upload_id", ID, nullable=False),
        sa.Column("line", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("document_id", ID, nullable=True),
        sa.Column("code", sa.String(length=64), nullable=True),
        sa.Column("message", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["upload_id"], ["uploads.id"], name=op.f("fk_upload_lines_upload_id_uploads")),
        sa.PrimaryKeyConstraint("upload_id", "line", name=op.f("pk_upload_lines")),
    )
    op.create_index(op.f("ix_upload_lines_document_id"), "upload_lines", ["document_id"])
    stored = sa.text("state = 'stored'")
    op.create_index(
        "ix_upload_lines_stored", "upload_lines", ["upload_id", "line"], sqlite_where=stored, postgresql_where=stored
    )


def _add_columns() -> None:
    op.add_column("profiles", sa.Column("summary_source", sa.String(length=8), nullable=True))
    op.add_column("profiles", sa.Column("summary_inputs", sa.String(length=64), nullable=True))
    op.add_column("profiles", sa.Column("summary_attempts", sa.Integer(), nullable=True))
    op.add_column("profiles", sa.Column("summary_failed", sa.String(length=32), nullable=True))
    unwritten = sa.text("summary_attempts IS NOT NULL")
    op.create_index("ix_profiles_unwritten", "profiles", ["id"], sqlite_where=unwritten, postgresql_where=unwritten)
    op.add_column("profiles", sa.Column("refold_at", MOMENT, nullable=True))
    dated = sa.text("refold_at IS NOT NULL")
    op.create_index("ix_profiles_refold", "profiles", ["refold_at"], sqlite_where=dated, postgresql_where=dated)
    op.add_column("profiles", sa.Column("retired_into", ID, nullable=True))
    op.create_index(op.f("ix_profiles_retired_into"), "profiles", ["retired_into"])
    op.execute("UPDATE profiles SET retired_into = merged_into WHERE merged_into IS NOT NULL")
    op.add_column("identifiers", sa.Column("home_id", ID, nullable=True))
    op.create_index(op.f("ix_identifiers_home_id"), "identifiers", ["home_id"])
    op.execute("UPDATE identifiers SET home_id = profile_id")
    op.add_column("documents", sa.Column("given_to", ID, nullable=True))
    op.create_index(op.f("ix_documents_given_to"), "documents", ["given_to"])
    op.add_column("documents", sa.Column("definitions", sa.Text(), nullable=True))
    op.create_index("ix_documents_occurred", "documents", ["source", "occurred_at"])
    op.execute("UPDATE documents SET given_to = profile_id WHERE identifier_id IS NULL")
    op.add_column("traits", sa.Column("alternatives", JSON, nullable=True))
    op.add_column("traits", sa.Column("edit_id", ID, nullable=True))
    op.add_column("memories", sa.Column("event_at", MOMENT, nullable=True))
    # The next fold writes the true values: it folds every profile again.
    op.add_column("memories", sa.Column("source", sa.String(length=16), nullable=False, server_default="extracted"))
    op.add_column("memories", sa.Column("sightings", sa.Integer(), nullable=False, server_default="1"))
    op.add_column("memories", sa.Column("edit_id", ID, nullable=True))
    with op.batch_alter_table("trait_history") as history:
        history.add_column(sa.Column("reason", sa.String(length=16), nullable=False, server_default="replaced"))
        history.add_column(sa.Column("edit_id", ID, nullable=True))
        history.alter_column("observation_id", existing_type=ID, nullable=True)


def _protect_audit_log() -> None:
    if op.get_bind().dialect.name == "sqlite":
        for action in APPEND_ONLY:
            op.execute(
                f"CREATE TRIGGER audit_log_{action.lower()} BEFORE {action} ON audit_log "
                "BEGIN SELECT RAISE(ABORT, 'audit_log is append-only'); END"
            )
        return
    op.execute(
        "CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$"
    )
    op.execute(
        "CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR DELETE ON audit_log "
        "FOR EACH ROW EXECUTE FUNCTION refuse_change()"
    )
    op.execute(
        "CREATE TRIGGER audit_log_not_emptied BEFORE TRUNCATE ON audit_log "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )


def downgrade() -> None:
    op.execute("DROP VIEW lineage")
    op.create_index(op.f("ix_llm_calls_request_key"), "llm_calls", ["request_key"])
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP TABLE audit_log")
        op.execute("DROP FUNCTION refuse_change")
    else:
        op.drop_table("audit_log")
    for table in ("upload_lines", "uploads", "store_state", "erased", "edits"):
        op.drop_table(table)
    with op.batch_alter_table("trait_history") as history:
        history.drop_column("edit_id")
        history.drop_column("reason")
        history.alter_column("observation_id", existing_type=ID, nullable=False)
    for column in ("edit_id", "sightings", "source", "event_at"):
        op.drop_column("memories", column)
    for column in ("edit_id", "alternatives"):
        op.drop_column("traits", column)
    op.drop_index("ix_documents_occurred", "documents")
    op.drop_index(op.f("ix_documents_given_to"), "documents")
    op.drop_column("documents", "definitions")
    op.drop_column("documents", "given_to")
    op.drop_index(op.f("ix_identifiers_home_id"), "identifiers")
    op.drop_column("identifiers", "home_id")
    op.drop_index(op.f("ix_profiles_retired_into"), "profiles")
    op.drop_column("profiles", "retired_into")
    op.drop_index("ix_profiles_refold", "profiles")
    op.drop_index("ix_profiles_unwritten", "profiles")
    for column in ("refold_at", "summary_failed", "summary_attempts", "summary_inputs", "summary_source"):
        op.drop_column("profiles", column)
    op.execute(LINEAGE)
