"""What a process says on its log of a provider that is down: one line when the wait begins, one when it is over."""

import logging
import threading
import time
from collections.abc import Callable

from ingest_pipeline.llm.settings import ModelSettings
from ingest_pipeline.llm.transport import FailureKind, ProviderFailure

_log = logging.getLogger(__name__)


class OutageLog:
    """Of one model, for all threads. Names the model and its address, nothing of what was asked."""

    def __init__(self, model: ModelSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._model, self._clock = model, clock
        self._lock = threading.Lock()
        self._failure: ProviderFailure | None = None
        self._since: float | None = None

    def failed(self, failure: ProviderFailure) -> None:
        """What the latest call met; what is said of the outage goes by it."""
        self._failure = failure

    def halted(self, patience_s: float) -> None:
        """Calls wait for a provider that is down, ``patience_s`` at the most (0: they do not wait)."""
        if self._since is not None:
            return
        with self._lock:
            if self._since is not None:
                return
            self._since = self._clock()
        then = f"trying again for up to {_duration(patience_s)}" if patience_s else "not waiting for it"
        check = "; check INGEST_API_BASE" if self._model.api_base else ""
        _log.warning("the provider of %s %s; %s%s", self._model.place, _happened(self._failure), then, check)

    def answered(self) -> None:
        """A call was answered."""
        if self._since is None:
            return
        with self._lock:
            since, self._since = self._since, None
        if since is not None:
            _log.warning("the provider of %s answers again, after %.0f s", self._model.place, self._clock() - since)


def _happened(failure: ProviderFailure | None) -> str:
    if failure is None:  # others found out
        return "gives no answer, or errors"
    if failure.kind is FailureKind.UNREACHABLE:
        return "cannot be reached: no connection"
    if failure.kind is FailureKind.TIMEOUT:
        return "does not answer in time"
    return f"answers with errors (HTTP {failure.status_code})"


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds >= 120 else f"{seconds:.0f} seconds"
