"""What the LLM client does under a provider's limits, errors, kills and budgets, against a loopback server.

    python benchmarks/llm.py rpm|double|throughput|kill|budget|auth|packing|operator|all [--postgresql]

Each scenario starts the server of ``tests/provider.py`` as a process of its own, runs workers as processes, and prints
measured figures beside what they should be; a table of all that have an aim ends the run, which exits with 1 when one
is missed. ``all`` takes some ten minutes on a quiet machine. ``operator`` starts its workers as separate commands on
PostgreSQL.
Workers of ``rpm``, ``double``, ``kill`` and ``operator`` extract pending documents from a store, as a sync does.
"""

import argparse
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from llm_kills import kill
from llm_report import Figure, show, show_aims
from llm_throughput import throughput
from llm_workers import (
    FAULTS,
    PRICES,
    Plan,
    Report,
    make_document,
    open_extractor,
    run_workers,
    seed,
    setting,
    stored,
    work_stored,
)
from sqlalchemy import text

from ingest_pipeline.extraction.base import Usage
from ingest_pipeline.llm.transport import load_litellm
from ingest_pipeline.store.engine import open_engine


def limited_run(
    title: str, configured: float, most: float, most_refused: float, postgresql: bool, **server: Any
) -> None:
    """600 documents at an enforced rate, with faults."""
    behaviour = {"rpm": 600, "latency_s": 0.2, **FAULTS, **server}
    with setting(postgresql, **behaviour) as (plan, provider):
        plan = replace(plan, requests=configured, concurrency=64, threads=16, stored=True)
        report, took = run_workers(plan, 4)
        seen = provider.seen()
    show_limited(title, report, took, seen, most, most_refused)


def show_limited(
    title: str,
    report: Report,
    took: float,
    seen: list[dict[str, Any]],
    most: float,
    most_refused: float,
    documents: int = 600,
) -> None:
    """``most``: of the floor. ``most_refused``: share of the requests."""
    own = len(seen) - report.usage.calls
    refused = sum(each["status"] == 429 for each in seen)
    needed, share = len(seen) - refused, refused / len(seen)
    floor = needed / 600 * 60
    faults = Counter(each["fault"] or "none" for each in seen)
    show(
        title,
        [
            Figure("documents extracted", report.statuses["ok"], f"{documents}", report.statuses["ok"] == documents),
            Figure("others", json.dumps({name: n for name, n in report.statuses.items() if name != "ok"})),
            Figure("tried once more at the end of the run", report.again),
            Figure("requests seen by the server", len(seen)),
            Figure("of these faulty", json.dumps({name: faults[name] for name in sorted(faults) if name != "none"})),
            Figure("refused (429), share", share, f"<= {most_refused}", share <= most_refused),
            Figure("floor: requests needed / 600 per minute, s", floor),
            Figure("wall, s", took),
            Figure("wall / floor", took / floor, f"<= {most:.2f}", took / floor <= most),
            Figure("sent by litellm's own retries", own, "0", own == 0),
        ],
    )


def rpm(postgresql: bool) -> None:
    title = "600 RPM in a sliding minute, limit known, 4 processes x 16 threads, 10 % 500, 5 % malformed, 2 % truncated"
    limited_run(title, 600, 1.10, 0.02, postgresql)


def double(postgresql: bool) -> None:
    title = "configured 1,200 RPM, the server enforces 600 (token bucket of 10)"
    limited_run(title, 1_200, 1.15, 1.0, postgresql, gcra_burst=10)
    title = "configured 1,200 RPM, the server enforces 600 in a sliding minute"
    limited_run(title, 1_200, 1.15, 1.0, postgresql)


def budget(postgresql: bool) -> None:
    """600 documents and money for about half of them, four processes."""
    limit = 0.20
    with setting(postgresql, latency_s=0.1, **FAULTS) as (plan, provider):
        plan = replace(plan, concurrency=32, threads=8, budget_usd=limit)
        report, took = run_workers(plan, 4)
        seen = provider.seen()
        engine = open_engine(plan.database)
        with engine.connect() as connection:
            spent = float(connection.execute(text("SELECT sum(spent_usd) FROM llm_budget")).scalar_one())
        engine.dispose()
    billed = sum(PRICES.cost(each["input_tokens"], 0, each["output_tokens"]) for each in seen)
    show(
        f"budget of {limit} US dollars, 4 processes x 8 threads",
        [
            Figure("documents extracted before it stopped", report.statuses["ok"]),
            Figure("spent / budget", spent / limit, "0.95 to 1", 0.95 <= spent / limit <= 1),
            Figure("billed by the server / budget", billed / limit, "<= 1", billed <= limit),
            Figure("documents not asked about", report.stops["budget"]),
            Figure("wall, s", took),
        ],
    )


def auth(postgresql: bool) -> None:
    """The key is rejected from the start; four processes with 16 threads each."""
    with setting(postgresql, latency_s=0.2, status=401, error="invalid_api_key") as (plan, provider):
        plan = replace(plan, threads=16)
        report, took = run_workers(plan, 4)
        seen = provider.seen()
    show(
        "wrong key, 600 documents, 4 processes x 16 threads",
        [
            Figure("requests sent, one per thread under way", len(seen), "<= 64", len(seen) <= 64),
            Figure("documents extracted", report.statuses["ok"], "0", not report.statuses["ok"]),
            Figure("different messages", len(report.stops), "1", len(report.stops) == 1),
            Figure("message", next(iter(report.stops), "none")[:60]),
            Figure("wall, s", took),
        ],
    )


def packing(postgresql: bool) -> None:
    """200 small documents of 10 profiles."""
    documents = [make_document(n, profile=n % 10, sentences=3) for n in range(200)]
    figures = []
    for pack_tokens in (3_000, 1):
        with setting(postgresql, latency_s=0.05) as (plan, _):
            extractor = open_extractor(plan, pack_tokens)
            found = []
            for profile in {document.profile_id for document in documents}:
                mine = [document for document in documents if document.profile_id == profile]
                found += list(extractor.extract(mine))
            extractor.close()
        usage = sum((each.usage for each in found), start=Usage())
        texts = {document.id: document.text for document in documents}
        quotes = [(texts[e.document_id][o.start : o.end], o.quote) for e in found for o in e.observations]
        figures.append((usage, len(quotes), all(shown == quote for shown, quote in quotes)))
    (packed, quotes_packed, right), (single, quotes_single, _) = figures
    show(
        "200 small documents of 10 profiles, packed and each on its own",
        [
            Figure("calls", f"{packed.calls} / {single.calls}"),
            Figure("input tokens", f"{packed.input_tokens:,} / {single.input_tokens:,}"),
            Figure("cost, US dollars", f"{packed.cost_usd:.4f} / {single.cost_usd:.4f}"),
            Figure("observations", f"{quotes_packed} / {quotes_single}", "equal", quotes_packed == quotes_single),
            Figure("every quote stands in its document", right, "True", right),
        ],
    )


def operator(postgresql: bool = True) -> None:
    """The rpm scenario on PostgreSQL with two commands that know nothing of each other."""
    with setting(True, rpm=600, latency_s=0.2, **FAULTS) as (plan, provider):
        plan = replace(plan, requests=600, concurrency=64, threads=24, documents=300, stored=True)
        seed(plan)
        command = [sys.executable, __file__, "worker", "--plan"]
        plans = [json.dumps(asdict(replace(plan, share=n, shares=2))) for n in range(2)]
        workers = [subprocess.Popen([*command, each], stdout=subprocess.PIPE, text=True) for each in plans]  # noqa: S603
        total = Report()
        for worker in workers:
            output = json.loads(worker.communicate()[0])
            total.add(Report(stops=Counter(output["stops"]), usage=Usage(**output["usage"])))
        total.add(stored(plan))
        seen = provider.seen()
    took = max(each["answered_at"] for each in seen) - min(each["at"] for each in seen)
    show_limited("PostgreSQL, two commands x 24 threads, 300 documents, 600 RPM", total, took, seen, 1.10, 0.02, 300)


def worker(plan: str) -> None:
    report = work_stored(Plan(**json.loads(plan)))
    print(json.dumps({"stops": report.stops, "usage": asdict(report.usage)}))


SCENARIOS: dict[str, Callable[[bool], None]] = {
    "rpm": rpm,
    "double": double,
    "throughput": throughput,
    "kill": kill,
    "budget": budget,
    "auth": auth,
    "packing": packing,
    "operator": operator,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenario", choices=[*SCENARIOS, "all", "worker"])
    parser.add_argument("--postgresql", action="store_true")
    parser.add_argument("--plan", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.scenario == "worker":
        worker(arguments.plan)
        return
    # Workers are forked from here, so that none has to import it again.
    load_litellm()
    for name, scenario in SCENARIOS.items():
        if arguments.scenario in (name, "all"):
            scenario(arguments.postgresql)
    sys.exit(not show_aims())


if __name__ == "__main__":
    main()
