"""Alembic's environment: runs on the connection that ``engine.upgrade`` hands over."""

from alembic import context

import ingest_pipeline.llm.tables
import ingest_pipeline.store.tables
import ingest_pipeline.store.upload_tables  # noqa: F401 - fills the metadata
from ingest_pipeline.store.base import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
    compare_type=True,
)
context.run_migrations()
