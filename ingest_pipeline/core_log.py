"""What the core warns of, told where somebody looks: that a provider is down and waited for, for example."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class _Relay(logging.Handler):
    def __init__(self, tell: Callable[[str], object]) -> None:
        super().__init__(logging.WARNING)
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        # The message alone: an error's own words may quote texts.
        self._tell(record.getMessage())


@contextmanager
def warnings_to(tell: Callable[[str], object]) -> Iterator[None]:
    """Each warning of the core is told as well, as one line."""
    core, relay = logging.getLogger("ingest_pipeline"), _Relay(tell)
    core.addHandler(relay)
    try:
        yield
    finally:
        core.removeHandler(relay)
