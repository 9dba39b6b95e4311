"""The first schema."""

from alembic import op

import ingest_pipeline.llm.tables
import ingest_pipeline.store.tables  # noqa: F401
from ingest_pipeline.store.base import Base

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    Base.metadata.create_all(op.get_bind())


def downgrade() -> None:
    Base.metadata.drop_all(op.get_bind())
