"""How fast the main job is, over generated inboxes: read → extract offline → fold, without Dagster and with it.

    python benchmarks/pipeline.py [--sizes 2500 10000 20000] [--runs 3] [--dagster 10000] [--database URL]

Every measurement is a process of its own, which says what it took as one line of JSON; medians of the runs are
printed. CPU seconds stand beside wall seconds: on a machine that others use too, only they compare. ``--database``
measures a PostgreSQL whose tables are emptied first; else it is a new SQLite file each time.
"""

import argparse
import json
import os
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parent.parent
SEED = 1
DOMAINS = "northwind.example"
STAGES = ("read", "extract", "fold")
AIM_DOCUMENTS_PER_S = 1_500
AIM_MS_PER_PARTITION = 15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="*", default=[2_500, 10_000, 20_000], help="documents")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--dagster", type=int, default=10_000, help="documents of the run through Dagster; 0: none")
    parser.add_argument("--database", default="", help="a PostgreSQL URL to use in place of SQLite")
    parser.add_argument("--measure", choices=("core", "dagster"), help=argparse.SUPPRESS)
    parser.add_argument("--inbox", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure = measure_core if arguments.measure == "core" else measure_dagster
        print(json.dumps(measure(arguments.inbox, arguments.database)))
        return
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        report_core(Path(folder), arguments.sizes, arguments.runs, arguments.database)
        if arguments.dagster:
            report_dagster(Path(folder), arguments.dagster, arguments.database)


def report_core(folder: Path, sizes: Sequence[int], runs: int, database: str) -> None:
    print(
        f"Without Dagster, offline extractor, {database or 'SQLite'}, medians of {runs}; load {os.getloadavg()[0]:.1f}"
    )
    print(f"{'documents':>10} {'stage':>8} {'wall s':>8} {'CPU s':>8} {'documents/s':>12} {'peak RSS MB':>12}")
    for size in sizes:
        inbox = generate(folder, size)
        taken = [run("core", inbox, database) for _ in range(runs)]
        for stage in (*STAGES, "total"):
            wall, cpu, rss = (median(one[stage][what] for one in taken) for what in ("wall_s", "cpu_s", "rss_mb"))
            print(f"{size:>10,} {stage:>8} {wall:>8.2f} {cpu:>8.2f} {size / wall:>12,.0f} {rss:>12.0f}")
    print(f"aim: {AIM_DOCUMENTS_PER_S:,} documents/s in all; time in proportion to size, memory the same\n")


def report_dagster(folder: Path, size: int, database: str) -> None:
    one = run("dagster", generate(folder, size), database)
    partitions = one["partitions"]
    print(f"One run of nightly_sync in process over {size:,} documents, SQLite instance")
    for name, step in one["steps"].items():
        print(f"{name:>24} {step['wall_s']:>8.2f} s, {step['partitions']:>6,} partitions recorded")
    wall, cpu = one["wall_s"] * 1000 / partitions, one["cpu_s"] * 1000 / partitions
    size_per_partition = one["event_log_bytes"] / partitions
    print(f"in all {one['wall_s']:.1f} s wall, {one['cpu_s']:.1f} s CPU for {partitions:,} recorded partitions:")
    print(
        f"{wall:.1f} ms wall, {cpu:.1f} ms CPU and {size_per_partition:,.0f} bytes of event log per partition "
        f"(aim: {AIM_MS_PER_PARTITION} ms); peak RSS {one['rss_mb']:.0f} MB"
    )


def generate(folder: Path, size: int) -> Path:
    from ingest_pipeline.demo.large import generate_large

    inbox = folder / f"inbox-{size}"
    if not inbox.exists():
        generate_large(inbox, size, SEED)
    return inbox


def run(what: str, inbox: Path, database: str) -> dict[str, Any]:
    """One measurement in a process of its own with a home of its own."""
    with tempfile.TemporaryDirectory(prefix="bench-home-") as home:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("INGEST_", "DAGSTER_"))}
        settings = {"INGEST_HOME": home, "INGEST_INBOX": str(inbox), "INGEST_INTERNAL_DOMAINS": DOMAINS}
        if database:
            settings["INGEST_DATABASE_URL"] = database
        command = [sys.executable, __file__, "--measure", what, "--inbox", str(inbox), "--database", database]
        done = subprocess.run(  # noqa: S603 - this very file
            command, cwd=ROOT, env=inherited | settings, stdout=subprocess.PIPE, text=True, check=True
        )
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return result


def measure_core(inbox: Path, database: str) -> dict[str, Any]:
    """Seconds, CPU seconds and peak memory by stage. The database is new or emptied."""
    from ingest_pipeline.extracting import extract_pending
    from ingest_pipeline.folding import fold_profiles
    from ingest_pipeline.pipeline import extractor_threads, open_pipeline
    from ingest_pipeline.reading import read_source
    from ingest_pipeline.settings import load_settings
    from ingest_pipeline.sources.inbox import FOLDERS, open_inbox
    from ingest_pipeline.store.extractions import Selection

    settings = load_settings()
    pipeline = open_pipeline(settings)
    if database:
        empty(pipeline.engine)
    box, options = open_inbox(settings.inbox), settings.read_options()

    def read() -> None:
        for source in FOLDERS:
            read_source(pipeline.engine, box, source, options)

    def extract() -> None:
        selection = Selection(pipeline.extractor.fingerprint)
        for _ in extract_pending(pipeline.engine, pipeline.extractor, selection, extractor_threads(settings)):
            pass

    def fold() -> None:
        for _ in fold_profiles(pipeline.engine, pipeline.schema):
            pass

    steps: dict[str, Callable[[], None]] = dict(zip(STAGES, (read, extract, fold), strict=True))
    result = {}
    with timed() as total:
        for stage, step in steps.items():
            with timed() as taken:
                step()
            result[stage] = taken
    pipeline.close()
    return result | {"total": total}


def empty(engine: Any) -> None:
    from sqlalchemy import delete

    from ingest_pipeline.store.base import Base

    with engine.begin() as connection:
        for table in reversed(Base.metadata.sorted_tables):
            connection.execute(delete(table))


def measure_dagster(inbox: Path, database: str) -> dict[str, Any]:
    """One nightly run: seconds by step, partitions recorded, bytes of the run's event log."""
    import dagster as dg

    from ingest_pipeline.launch import prepare_dagster_home
    from ingest_pipeline.pipeline import open_pipeline
    from ingest_pipeline.settings import load_settings

    settings = load_settings()
    home = prepare_dagster_home(settings)
    pipeline = open_pipeline(settings)
    if database:
        empty(pipeline.engine)
    pipeline.close()
    from ingest_pipeline.definitions import defs

    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    with dg.DagsterInstance.get() as instance, timed() as taken:
        result = defs.resolve_job_def("nightly_sync").execute_in_process(run_config=quiet, instance=instance)
    assert result.success
    steps: dict[str, dict[str, float]] = {}
    for event in result.all_events:
        step = steps.setdefault(event.step_key or "", {"wall_s": 0.0, "partitions": 0})
        step["partitions"] += event.is_step_materialization and event.partition is not None
        if event.is_step_success:
            step["wall_s"] = event.step_success_data.duration_ms / 1000
    steps = {name: step for name, step in steps.items() if step["wall_s"]}
    return taken | {
        "steps": steps,
        "partitions": int(sum(step["partitions"] for step in steps.values())),
        "event_log_bytes": event_log_bytes(home, result.run_id),
    }


def event_log_bytes(home: Path, run_id: str) -> int:
    """What the run's own event log takes on disk, and its rows in the index of all runs."""
    folder = home / "history" / "runs"
    with sqlite3.connect(folder / "index.db") as connection:
        (index,) = connection.execute("SELECT sum(length(event)) FROM event_logs").fetchone()
    return (folder / f"{run_id}.db").stat().st_size + int(index or 0)


@contextmanager
def timed() -> Iterator[dict[str, Any]]:
    """Fills in wall and CPU seconds, and the process's peak memory at the end, when left."""
    taken: dict[str, Any] = {}
    wall, cpu = time.perf_counter(), time.process_time()
    yield taken
    taken["wall_s"] = time.perf_counter() - wall
    taken["cpu_s"] = time.process_time() - cpu
    taken["rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
