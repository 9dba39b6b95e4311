"""What the LLM client does under a provider's limits, errors, kills and budgets, against a loopback server.

    python benchmarks/llm.py rpm|double|throughput|kill|budget|auth|packing|operator|all [--postgresql]

Each scenario starts the server of ``tests/provider.py`` as a process of its own, runs workers as processes, and prints
measured figures beside what they should be. ``operator`` starts its workers as separate commands on PostgreSQL.
Workers of ``rpm``, ``double``, ``kill`` and ``operator`` extract pending documents from a store, as a sync does.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from itertools import pairwise
from typing import Any

from httpx import Limits
from llm_workers import (
    FAULTS,
    FORK,
    PRICES,
    Plan,
    Report,
    Server,
    make_document,
    open_extractor,
    run_forked,
    run_workers,
    seed,
    setting,
    show,
    stored,
    work_stored,
)
from openai import DefaultHttpxClient, OpenAI
from sqlalchemy import text

from ingest_pipeline.chunking import Span
from ingest_pipeline.extraction.base import Usage
from ingest_pipeline.extraction.prompt import Passage
from ingest_pipeline.llm.transport import load_litellm
from ingest_pipeline.store.engine import open_engine

READ_S = 0.1


def limited_run(title: str, configured: float, aim: str, processes: int, postgresql: bool, **server: Any) -> None:
    """600 documents at an enforced rate, with faults."""
    behaviour = {"rpm": 600, "latency_s": 0.2, **FAULTS, **server}
    with setting(postgresql, **behaviour) as (plan, provider):
        plan = replace(plan, requests=configured, concurrency=64, threads=16, stored=True)
        report, took = run_workers(plan, processes)
        seen = provider.seen()
    show_limited(title, report, took, seen, aim, plan.documents)


def show_limited(title: str, report: Report, took: float, seen: list[dict[str, Any]], aim: str, documents: int) -> None:
    refused = sum(each["status"] == 429 for each in seen)
    needed = len(seen) - refused
    floor = needed / 600 * 60
    faults = Counter(each["fault"] or "none" for each in seen)
    show(
        title,
        [
            ("documents extracted", f"{report.statuses['ok']} of {documents}", "all"),
            ("others", json.dumps({name: n for name, n in report.statuses.items() if name != "ok"}), "none"),
            ("tried once more at the end of the run", report.again, ""),
            ("requests seen by the server", len(seen), ""),
            ("of these faulty", json.dumps({name: faults[name] for name in sorted(faults) if name != "none"}), ""),
            ("refused (429), share", refused / len(seen), "<= 0.02 when the limit is known"),
            ("floor: requests needed / 600 per minute, s", floor, ""),
            ("wall, s", took, ""),
            ("wall / floor", took / floor, aim),
            ("litellm retries of its own", len(seen) - report.usage.calls, "0"),
        ],
    )


def rpm(postgresql: bool) -> None:
    title = "600 RPM in a sliding minute, limit known, 4 processes x 16 threads, 10 % 500, 5 % malformed, 2 % truncated"
    limited_run(title, 600, "<= 1.10, aim 1.03", 4, postgresql)


def double(postgresql: bool) -> None:
    title = "configured 1,200 RPM, the server enforces 600 (token bucket of 10)"
    limited_run(title, 1_200, "<= 1.15", 4, postgresql, gcra_burst=10)
    title = "configured 1,200 RPM, the server enforces 600 in a sliding minute"
    limited_run(title, 1_200, "<= 1.15", 4, postgresql)


def throughput(postgresql: bool) -> None:
    """64 threads and 200 ms: the latency allows 320 calls/s, litellm's CPU fewer. In turns, as load varies."""
    rounds, calls = 3, 640
    for processes, threads in ((1, 64), (2, 32)):
        bare_s = client_s = 0.0
        for _ in range(rounds):
            with setting(postgresql, latency_s=0.2) as (plan, _):
                plan = replace(plan, documents=calls, threads=threads, concurrency=64)
                bare_s += bare_litellm(plan, processes)
                client_s += run_workers(plan, processes)[1]
        bare, rate, latency = rounds * calls / bare_s, rounds * calls / client_s, 64 / 0.2
        show(
            f"no RPM limit, {processes} process(es) x {threads} threads, 200 ms",
            [
                ("the latency allows, calls/s", latency, ""),
                ("litellm alone, calls/s", bare, ""),
                ("this client, calls/s", rate, ""),
                ("the lower one is", "litellm's CPU time" if bare < latency else "the latency", ""),
                ("this client / the lower one", rate / min(bare, latency), ">= 0.90"),
            ],
        )


def bare_litellm(plan: Plan, processes: int) -> float:
    """Seconds that plain ``litellm.completion`` takes, with the same questions, threads, processes and server.

    With an HTTP client of ours: those of litellm's own that it drops are closed while other threads use them.
    """
    barrier = FORK.Barrier(processes + 1)

    def run() -> None:
        extractor = open_extractor(plan)
        model = extractor.client.settings.primary
        extractor.check()
        client = OpenAI(
            api_key="benchmark", base_url=plan.base_url, max_retries=0,
            http_client=DefaultHttpxClient(limits=Limits(max_connections=None)),
        )  # fmt: skip

        def ask(number: int) -> None:
            document = make_document(number)
            question = extractor.request([Passage(document, Span(0, len(document.text)))])
            assert question.format is not None
            shape = {"name": question.format.name, "schema": question.format.schema, "strict": True}
            litellm.completion(
                model=model.name, api_base=plan.base_url, api_key="benchmark", client=client, temperature=0.0,
                messages=[{"role": each.role, "content": each.content} for each in question.messages],
                response_format={"type": "json_schema", "json_schema": shape}, max_tokens=model.max_output_tokens,
                timeout=model.timeout_s, max_retries=0, num_retries=0,
            )  # fmt: skip

        ask(0)
        barrier.wait()
        with ThreadPoolExecutor(plan.threads) as pool:
            list(pool.map(ask, range(plan.documents // processes)))
        extractor.close()

    litellm = load_litellm()
    workers = [FORK.Process(target=run) for _ in range(processes)]
    for worker in workers:
        worker.start()
    barrier.wait()
    began = time.monotonic()
    for worker in workers:
        worker.join()
    return time.monotonic() - began


def kill(postgresql: bool, kills: int = 30) -> None:
    """One of two workers is killed at random moments and started again, until all documents are done.

    Whether an answer that had arrived was asked for again is counted at the server, where every request is known by
    its hash: an answer counts as arrived when it was sent READ_S or longer before the kill. What is sent over the
    loopback interface is with the client at once, so READ_S is the time that a client with eight busy threads gets to
    read, parse and store it. How late the latest lost answer had been sent is shown as well.
    """
    chance = random.Random(7)
    faults = {**FAULTS, "latency_s": 0.1}
    with setting(postgresql, **faults) as (plan, provider):
        plan = replace(plan, requests=1_500, concurrency=32, threads=8, lease_s=3.0, stored=True)
        done, kill_times, began = kill_and_restart(plan, provider, kills, chance)
        took = time.monotonic() - began
        seen = provider.seen()
        rows = outcomes(plan)
        twice = paid_twice(plan)
    lost, on_purpose = asked_again(seen, kill_times)
    others = {name: n for name, n in (done.statuses + done.stops).items() if name != "ok"}
    with setting(postgresql, **faults) as (plan, _):
        calm, _ = run_workers(replace(plan, concurrency=32, threads=8, stored=True), 2)
    answered = Counter(each["hash"] for each in seen if each["status"] == 200)
    show(
        f"kill -9 of a worker at {len(kill_times)} random moments (8 threads each), then run to the end",
        [
            ("documents done", f"{done.statuses['ok']} of {plan.documents}", "all"),
            ("others, and what stopped workers", json.dumps(dict(others)), "none"),
            ("observations, and of an uninterrupted run", f"{done.observations} / {calm.observations}", "equal"),
            ("asked again though the answer had arrived", sum(each > READ_S for each in lost), "0"),
            ("asked again, the answer under way at a kill", sum(each <= READ_S for each in lost), ""),
            ("latest of these was sent before its kill, ms", 1000 * max(lost, default=0.0), f"< {1000 * READ_S:.0f}"),
            ("asked again after three unusable answers", on_purpose, ""),
            ("answers stored for one request twice", twice, "as many"),
            ("requests answered again by the server", sum(n - 1 for n in answered.values()), "<= lost calls"),
            ("calls lost: under way at a kill", rows["lost"], ""),
            ("calls left pending", rows["pending"], "0"),
            ("wall, s", took, ""),
        ],
    )


def asked_again(seen: list[dict[str, Any]], kills: list[float]) -> tuple[list[float], int]:
    """Repeated requests: how long before the next kill (s, negative: after it) each first answer had been sent.

    And how many were repeated without a kill in between.
    """
    by_hash: dict[str, list[dict[str, Any]]] = {}
    for each in sorted(seen, key=lambda one: one["at"]):
        if each["status"] == 200:
            by_hash.setdefault(each["hash"], []).append(each)
    margins, on_purpose = [], 0
    for answers in by_hash.values():
        for first, again in pairwise(answers):
            between = [moment for moment in kills if first["at"] < moment < again["at"]]
            if between:
                margins.append(min(between) - first["answered_at"])
            else:
                on_purpose += 1
    return margins, on_purpose


def kill_and_restart(
    plan: Plan, provider: Server, kills: int, chance: random.Random
) -> tuple[Report, list[float], float]:
    seed(plan)
    began = time.monotonic()
    killed: list[float] = []
    results = FORK.Queue()
    plans = [replace(plan, share=n, shares=2) for n in range(2)]
    barrier = FORK.Barrier(1)
    workers = [FORK.Process(target=run_forked, args=(each, barrier, results)) for each in plans]
    for worker in workers:
        worker.start()
    while len(killed) < kills and any(worker.is_alive() for worker in workers):
        # In the midst of the work: a worker that is killed while it starts loses nothing and proves nothing.
        wanted = provider.count() + chance.randrange(4, 20)
        while provider.count() < wanted and any(worker.is_alive() for worker in workers):
            time.sleep(0.02)
        time.sleep(chance.uniform(0.0, 0.15))
        which = chance.randrange(2)
        pid = workers[which].pid
        if workers[which].is_alive() and pid is not None:
            os.kill(pid, signal.SIGKILL)
            killed.append(time.time())
            workers[which].join()
            # A queue may be left locked by a killed writer, so the totals come from the store.
            workers[which] = FORK.Process(target=run_forked, args=(plans[which], FORK.Barrier(1), FORK.Queue()))
            workers[which].start()
    for worker in workers:
        worker.join(timeout=120)
        if worker.is_alive() and worker.pid is not None:
            os.kill(worker.pid, signal.SIGKILL)
    total, _ = run_workers(plan, 2)
    return total, killed, began


def outcomes(plan: Plan) -> Counter[str]:
    engine = open_engine(plan.database)
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT outcome, count(*) FROM llm_calls GROUP BY outcome")).all()
    engine.dispose()
    return Counter({str(name): int(count) for name, count in rows})


def paid_twice(plan: Plan) -> int:
    """Requests of which two answers arrived."""
    query = """
        SELECT count(*) FROM (
            SELECT request_key FROM llm_calls WHERE outcome IN ('ok', 'invalid', 'truncated')
            GROUP BY request_key HAVING count(*) > 1) AS repeated
    """
    engine = open_engine(plan.database)
    with engine.connect() as connection:
        count = int(connection.execute(text(query)).scalar_one())
    engine.dispose()
    return count


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
            ("documents extracted before it stopped", report.statuses["ok"], ""),
            ("spent / budget", spent / limit, "0.95 to 1"),
            ("billed by the server / budget", billed / limit, "<= 1"),
            ("documents not asked about", report.stops["budget"], "the rest"),
            ("wall, s", took, ""),
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
            ("requests sent", len(seen), "<= 64, one per thread under way"),
            ("documents extracted", report.statuses["ok"], "0"),
            ("different messages", len(report.stops), "1"),
            ("message", next(iter(report.stops), "none")[:60], ""),
            ("wall, s", took, ""),
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
            ("calls", f"{packed.calls} / {single.calls}", ""),
            ("input tokens", f"{packed.input_tokens:,} / {single.input_tokens:,}", ""),
            ("cost, US dollars", f"{packed.cost_usd:.4f} / {single.cost_usd:.4f}", ""),
            ("observations", f"{quotes_packed} / {quotes_single}", "equal"),
            ("every quote stands in its document", right, "True"),
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
    show_limited("PostgreSQL, two commands x 24 threads, 300 documents, 600 RPM", total, took, seen, "<= 1.10", 300)


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


if __name__ == "__main__":
    main()
