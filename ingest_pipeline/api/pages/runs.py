"""The last runs, as Dagster has recorded them. Asked in a thread: importing Dagster takes a second or two, once."""

import time
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from threading import Lock

from ingest_pipeline.launch import RecordedRun, dagster_home, prepare_dagster_home
from ingest_pipeline.settings import Settings

WAIT_S = 4.0
FRESH_S = 5.0
SHOWN = 10


class LastRuns:
    """Thread-safe; one per process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="runs")
        self._lock = Lock()
        self._asked: Future[list[RecordedRun]] | None = None
        self._at = 0.0

    def load(self) -> list[RecordedRun] | None:
        """The latest first; none where nothing ever ran. None when it takes longer: ask again."""
        if not dagster_home(self._settings).is_dir():
            return []
        with self._lock:
            if self._asked is None or (self._asked.done() and time.monotonic() - self._at > FRESH_S):
                self._asked, self._at = self._pool.submit(_load, self._settings), time.monotonic()
            asked = self._asked
        try:
            return asked.result(WAIT_S)
        except NotYet:
            return None

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


def _load(settings: Settings) -> list[RecordedRun]:
    prepare_dagster_home(settings)
    from ingest_pipeline.definitions import load_runs

    return load_runs(SHOWN)
