"""What a server process writes to its log: where something failed, never the words of an error that nobody foresaw.

Those may quote what people wrote; ours do not.
"""

import logging
import traceback
from types import TracebackType
from typing import Any

FRAMES = 30
"""Calls that are shown of each error, the last ones."""

Failure = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class Places(logging.Formatter):
    """Errors as their class and the calls that led to them, with their causes."""

    def formatException(self, ei: Failure) -> str:
        parts: list[str] = []
        error = ei[1]
        while error is not None:
            parts += ["".join(traceback.format_tb(error.__traceback__, -FRAMES)), type(error).__name__]
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
            parts += ["in the course of"] if error else []
        return "\n".join(part.rstrip() for part in parts)


CONFIG: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"places": {"()": Places, "format": "%(levelname)s %(name)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "places"}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
}
"""For ``logging.config.dictConfig``."""
