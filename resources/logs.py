"""What the core logs, in the run's log."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


class _Relay(logging.Handler):
    def __init__(self, log: logging.Logger) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        # The message alone: an error's own words may quote texts.
        self._log.warning(record.getMessage())


@contextmanager
def relayed(log: logging.Logger) -> Iterator[None]:
    """Warnings of the core go to the run's log as well: that a provider is down and waited for, for example."""
    core, relay = logging.getLogger("ingest_pipeline"), _Relay(log)
    core.addHandler(relay)
    try:
        yield
    finally:
        core.removeHandler(relay)
