"""Turns the core's errors into Dagster's: one line in the run that says what to do."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from ingest_pipeline.errors import ConfigurationError, InvalidInput


@contextmanager
def reported() -> Iterator[None]:
    """A wrong setting or argument fails the step with its message, without a retry: it would only fail again."""
    try:
        yield
    except (ConfigurationError, InvalidInput) as error:
        raise dg.Failure(description=str(error), allow_retries=False) from None
