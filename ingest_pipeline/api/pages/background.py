"""`ingest retry`, started from a page: a process of its own, which goes on when the server ends.

What is known of it lies in ``$INGEST_HOME/viewer``, so that every worker process can tell:

    retry.lock       held by the process as long as it lives: the system lets go of it however it ends
    retry.json       who began it, when, and how much there was to do
    retry.out, .err  what it wrote; counts, no text of documents
"""

import fcntl
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from ingest_pipeline.settings import Settings

COMMAND = (sys.executable, "-P", "-c", "from ingest_pipeline.cli import main; main()", "retry", "--json")
"""Without the current folder among the places of modules: it may hold anything."""


@dataclass(frozen=True, slots=True)
class Begun:
    """``todo``: documents that were open then."""

    at: str
    by: str
    todo: int

    @property
    def when(self) -> datetime:
        return datetime.fromisoformat(self.at)


@dataclass(frozen=True, slots=True)
class RetryState:
    """``begun`` None: none was started from a page of this machine. ``outcome``: of the last one, once it ended;
    ``failed`` when it says that something did not go well."""

    running: bool
    begun: Begun | None = None
    outcome: str | None = None
    failed: bool = False
    run_id: str | None = None


class Retry:
    """One machine's. Any process may ask or start; at most one runs."""

    def __init__(self, settings: Settings, command: Sequence[str] = COMMAND) -> None:
        self._folder, self._command = settings.home / "viewer", command
        self._environment = {"INGEST_HOME": str(settings.home), "INGEST_DATABASE_URL": settings.database_url}

    def start(self, by: str, todo: int) -> bool:
        """False when one is running already."""
        self._folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(self._file("lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return False
        try:
            begun = Begun(datetime.now(UTC).isoformat(), by, todo)
            self._file("json").write_text(json.dumps(asdict(begun)), encoding="utf-8")
            self._spawn(lock)
        finally:
            os.close(lock)  # the process has it now
        return True

    def _spawn(self, lock: int) -> None:
        with self._file("out").open("wb") as out, self._file("err").open("wb") as err:
            process = subprocess.Popen(  # noqa: S603
                self._command,
                env=_environment(self._environment),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                pass_fds=(lock,),
                start_new_session=True,
            )
        threading.Thread(target=process.wait, daemon=True, name="retry").start()

    def state(self) -> RetryState:
        begun = self._begun()
        if begun is None:
            return RetryState(False)
        if self._is_running():
            return RetryState(True, begun)
        return self._ended(begun)

    def _is_running(self) -> bool:
        try:
            with self._file("lock").open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except FileNotFoundError:
            return False
        return False

    def _begun(self) -> Begun | None:
        try:
            return Begun(**json.loads(self._file("json").read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError, TypeError):  # being written just now
            return None

    def _ended(self, begun: Begun) -> RetryState:
        """By what it wrote: JSON when it came to its end, else the last line of its errors."""
        lines = [line for line in self._text("err").splitlines() if line.strip()]
        said = lines[-1].removeprefix("error: ") if lines else ""
        try:
            run = json.loads(self._text("out"))["run"]
        except (ValueError, KeyError, TypeError):
            return RetryState(False, begun, said or "it ended without a word", failed=True)
        if run["success"]:
            return RetryState(False, begun, "everything that could be done is done", run_id=run["run_id"])
        return RetryState(False, begun, said or run["failure"] or "it failed", failed=True, run_id=run["run_id"])

    def _text(self, ending: str) -> str:
        try:
            return self._file(ending).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""

    def _file(self, ending: str) -> Path:
        return self._folder / f"retry.{ending}"


def _environment(own: Mapping[str, str]) -> dict[str, str]:
    """The command reads its settings as this process did, from the environment."""
    return {**os.environ, **own}
