"""What people are called by their own words stands with their profile, where lists and searches find it.

And what was extracted in the last minute is found without looking at all that ever was; erasures that are not done yet;
the version of the marks of who was erased.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TOLD = """
UPDATE profiles SET told_name = (
  SELECT {value} FROM traits WHERE traits.profile_id = profiles.id AND traits.key = 'name'
)
"""


def upgrade() -> None:
    op.add_column("profiles", sa.Column("told_name", sa.String(), nullable=True))
    value = "json_extract(value, '$')" if op.get_bind().dialect.name == "sqlite" else "value #>> '{}'"
    op.execute(TOLD.format(value=value))
    op.execute("INSERT INTO store_state (name, value) SELECT 'erased', '0003' WHERE EXISTS (SELECT 1 FROM erased)")
    op.create_index("ix_extractions_extracted_at", "extractions", ["extracted_at"])
    op.create_table(
        "erasures",
        sa.Column("profile_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("via", sa.String(length=8), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("claimed_until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("profile_id", name=op.f("pk_erasures")),
    )


def downgrade() -> None:
    op.execute("DELETE FROM store_state WHERE name = 'erased'")
    op.drop_table("erasures")
    op.drop_index("ix_extractions_extracted_at", "extractions")
    op.drop_column("profiles", "told_name")
