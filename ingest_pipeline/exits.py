"""Errors as the command line tells them: one line and an exit code."""

from sqlalchemy.exc import DBAPIError

from ingest_pipeline.errors import (
    ConfigurationError,
    ExtractionError,
    IngestError,
    InvalidInput,
    TraitSchemaError,
)

FAILED, USAGE = 1, 2
"""Some documents failed; wrong usage or configuration. 0 is for done."""

INTERRUPTED = 130
"""Ended by Ctrl-C, as shells say it."""


def explain(error: IngestError | DBAPIError) -> tuple[str, int]:
    """What to print and the exit code."""
    if isinstance(error, DBAPIError):
        # Only the first line: the others may quote values.
        detail = (str(error.orig).strip() or type(error.orig).__name__).splitlines()[0]
        return f"the database failed: {detail}; check INGEST_DATABASE_URL, then run the command again", USAGE
    if isinstance(error, ExtractionError):
        return str(error), USAGE if isinstance(error.__cause__, ConfigurationError) else FAILED
    if isinstance(error, InvalidInput):
        return f"{error} ({error.code})", USAGE
    if isinstance(error, TraitSchemaError):
        return f"the trait schema of INGEST_TRAITS cannot be used: {error}", USAGE
    return str(error), USAGE
