"""The last runs, as Dagster has recorded them. Importing Dagster takes a second or two, once."""

from functools import partial

from ingest_pipeline.api.pages.latest import Latest
from ingest_pipeline.launch import RecordedRun, dagster_home, prepare_dagster_home
from ingest_pipeline.settings import Settings

WAIT_S = 4.0
FRESH_S = 5.0
SHOWN = 10


class LastRuns:
    """Thread-safe; one per process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._latest = Latest(partial(_load, settings), WAIT_S, FRESH_S)

    def load(self) -> list[RecordedRun] | None:
        """The latest first; none where nothing ever ran. None when it takes longer: ask again."""
        if not dagster_home(self._settings).is_dir():
            return []
        found = self._latest.load()
        return found.value if found else None


def _load(settings: Settings) -> list[RecordedRun]:
    prepare_dagster_home(settings)
    from ingest_pipeline.definitions import load_runs

    return load_runs(SHOWN)
