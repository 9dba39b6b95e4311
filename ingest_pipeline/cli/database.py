"""``ingest db``: the database's schema."""

import typer

from ingest_pipeline.cli.app import app, say
from ingest_pipeline.settings import load_settings

db = typer.Typer(no_args_is_help=True, help="The database.")
app.add_typer(db, name="db")


@db.command()
def upgrade() -> None:
    """Bring the database to the current schema."""
    from ingest_pipeline.store.engine import HEAD_REVISION, create_store_engine
    from ingest_pipeline.store.engine import upgrade as upgrade_schema

    engine = create_store_engine(load_settings().database_url)
    upgrade_schema(engine)
    engine.dispose()
    say(f"The database is at revision {HEAD_REVISION}.")
