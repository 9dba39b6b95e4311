"""Turns the core's errors into Dagster's: one line in the run instead of a stack trace."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from ingest_pipeline.errors import ConfigurationError


@contextmanager
def reported() -> Iterator[None]:
    """A ConfigurationError fails the step with its message, without a retry: it would only fail again."""
    try:
        yield
    except ConfigurationError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from None
