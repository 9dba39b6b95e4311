"""Where the demo may run: made-up people must not get among real ones."""

from pathlib import Path

from ingest_pipeline.demo.inbox import ANSWER_KEY, generate
from ingest_pipeline.errors import ConfigurationError
from ingest_pipeline.settings import Settings
from ingest_pipeline.store.engine import open_engine
from ingest_pipeline.store.lookup import list_profiles

_ELSEWHERE = "run the demo elsewhere: INGEST_HOME=.demo ingest demo"


def write_inbox(settings: Settings) -> None:
    """Write the sample inbox. Raises ConfigurationError when inbox or database hold something else."""
    inbox = Path(settings.inbox)
    if not (inbox / ANSWER_KEY).is_file():
        _check_unused(settings, inbox)
    try:
        generate(inbox)
    except OSError as error:
        raise ConfigurationError(f"cannot write the inbox {inbox}: {error.strerror}; check INGEST_HOME") from None


def _check_unused(settings: Settings, inbox: Path) -> None:
    if "://" in settings.inbox:
        raise ConfigurationError(f"INGEST_INBOX is no folder of this machine; unset it, or {_ELSEWHERE}")
    if inbox.is_file() or (inbox.is_dir() and any(path.is_file() for path in inbox.rglob("*"))):
        raise ConfigurationError(f"the inbox {inbox} holds files of your own; {_ELSEWHERE}")
    engine = open_engine(settings.database_url)
    try:
        if list_profiles(engine, limit=1)[1]:
            raise ConfigurationError(f"the database holds profiles of your own; {_ELSEWHERE}")
    finally:
        engine.dispose()
