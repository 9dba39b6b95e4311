"""What a run in this process takes and gives; ``definitions.run_job`` does it. Knows nothing of Dagster."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from ingest_pipeline.documents import Json
from ingest_pipeline.settings import Settings, load_settings

_DAGSTER_YAML = """\
# Written once; change it as you like. Runs, schedules and the event log are kept in this folder.
telemetry:
  enabled: false
nux:
  enabled: false
"""


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """``failure`` is the failed step's one line; ``crashed`` when no step failed on purpose.

    ``metadata`` holds what the source assets reported: asset name → numbers.
    """

    run_id: str
    success: bool
    failure: str | None = None
    failed_step: str | None = None
    crashed: bool = False
    metadata: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """A run as Dagster has it. ``status`` is Dagster's, in lower case: ``success``, ``failure``, ``started`` …"""

    id: str
    job: str
    status: str
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


def dagster_home(settings: Settings) -> Path:
    """As set by the caller, else ``$INGEST_HOME/dagster``."""
    return Path(os.environ.get("DAGSTER_HOME") or settings.dagster_home).expanduser().resolve()


def prepare_dagster_home(settings: Settings) -> Path:
    """Make DAGSTER_HOME ready and export it."""
    home = dagster_home(settings)
    home.mkdir(parents=True, exist_ok=True)
    config = home / "dagster.yaml"
    if not config.exists():
        config.write_text(_DAGSTER_YAML)
    os.environ["DAGSTER_HOME"] = str(home)
    return home


if __name__ == "__main__":
    sys.stdout.write(f"{prepare_dagster_home(load_settings())}\n")
