"""The command line, ``ingest``. Exit codes: 0 done, 1 some documents failed, 2 usage or configuration error.

A module per group of commands; each registers its own on ``app``.
"""

import sys

from sqlalchemy.exc import DBAPIError

from ingest_pipeline.cli import (
    database,
    editing,
    exporting,
    forgetting,
    inspecting,
    looking,
    merging,
    running,
    serving,
    texts,
    tracing,
)
from ingest_pipeline.cli.app import app, complain, warn
from ingest_pipeline.console import tolerate_any_encoding
from ingest_pipeline.core_log import warnings_to
from ingest_pipeline.errors import IngestError
from ingest_pipeline.exits import explain
from ingest_pipeline.settings import warn_of_unknown_variables

__all__ = [
    "app",
    "database",
    "editing",
    "exporting",
    "forgetting",
    "inspecting",
    "looking",
    "main",
    "merging",
    "running",
    "serving",
    "texts",
    "tracing",
]


def main() -> None:
    """The entry point: errors raised on purpose end in one line and exit code 2."""
    tolerate_any_encoding()
    with warnings_to(warn):
        warn_of_unknown_variables()
    try:
        app()
    except (IngestError, DBAPIError) as error:
        message, code = explain(error)
        complain(message)
        sys.exit(code)
