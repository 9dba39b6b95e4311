"""The command as tests run it: in this process by its entry point, or as a process of its own."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ingest_pipeline import cli

INGEST = Path(sys.executable).with_name("ingest")


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def clean_environment(**settings: str) -> dict[str, str]:
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("INGEST_", "DAGSTER_", "COLUMNS"))
    }
    return kept | settings


def process(home: Path, *arguments: str, **settings: str) -> Done:
    """A run of the installed command."""
    environment = clean_environment(INGEST_HOME=str(home), **settings)
    done = subprocess.run([INGEST, *arguments], env=environment, capture_output=True, text=True, check=False)
    return Done(done.returncode, done.stdout, done.stderr)


Run = Callable[..., Done]


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def runner(home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], **always: str) -> Run:
    """Runs the command's entry point here: ``ingest("show", …, stdin=b"…", INGEST_MODEL="…")``.

    ``answer`` is what somebody types at a terminal; ``always`` are settings of every run.
    """

    def run(*arguments: str, stdin: bytes = b"", answer: str | None = None, **settings: str) -> Done:
        with monkeypatch.context() as patch:
            for name in os.environ:
                if name.startswith(("INGEST_", "DAGSTER_", "COLUMNS")):
                    patch.delenv(name)
            for name, value in ({"INGEST_HOME": str(home)} | always | settings).items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["ingest", *arguments])
            piped = io.TextIOWrapper(io.BytesIO(stdin))
            patch.setattr(sys, "stdin", piped if answer is None else _Terminal(answer + "\n"))
            capfd.readouterr()
            with pytest.raises(SystemExit) as ended:
                cli.main()
            code = ended.value.code
        out, err = capfd.readouterr()
        assert isinstance(code, int)
        return Done(code, out, err)

    return run


def words(text: str) -> str:
    return " ".join(text.split())
