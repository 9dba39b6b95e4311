"""Workers that are killed, and what the server saw of it; for ``llm.py``."""

import json
import math
import os
import random
import signal
import time
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from typing import Any

from llm_report import Figure, show
from llm_workers import FAULTS, FORK, Plan, Report, Server, run_forked, run_workers, seed, setting
from sqlalchemy import text

from ingest_pipeline.store.engine import open_engine

READ_S, REACH_S = 0.1, 1.0


def kill(postgresql: bool, kills: int = 30) -> None:
    """One of two workers is killed at random moments and started again, until all documents are done.

    Whether an answer that had arrived was asked for again is counted at the server, where every request is known by
    its hash. An answer counts as under way at a kill when it was sent less than READ_S before: what is sent over the
    loopback interface is with the client at once, so this is the time that a client with eight busy threads gets to
    read, parse and store it. How long before its kill the latest of these had been sent is shown as well. What was
    stored and asked again all the same is counted in the store, to the answer.
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
    arrived, same = sum(each > READ_S for each in lost), done.observations == calm.observations
    show(
        f"kill -9 of a worker at {len(kill_times)} random moments (8 threads each), then run to the end",
        [
            Figure("documents done", done.statuses["ok"], f"{plan.documents}", done.statuses["ok"] == plan.documents),
            Figure("others, and what stopped workers", json.dumps(dict(others)), "{}", not others),
            Figure("observations", done.observations, f"{calm.observations}, uninterrupted", same),
            Figure("asked again though the answer had arrived", arrived, "0", not arrived),
            Figure("asked again, the answer under way at a kill", sum(each <= READ_S for each in lost)),
            Figure("latest of all these was sent before its kill, ms", 1000 * max(lost, default=0.0)),
            Figure("asked again on purpose, after three unusable answers", on_purpose),
            Figure("answers stored for one request twice", twice, "0", not twice),
            Figure("calls lost: under way at a kill", rows["lost"]),
            Figure("calls left pending", rows["pending"], "0", not rows["pending"]),
            Figure("wall, s", took),
        ],
    )


def asked_again(seen: list[dict[str, Any]], kills: list[float]) -> tuple[list[float], int]:
    """Repeated requests: how long before the next kill (s, negative: after it) each first answer had been sent.

    And how many were repeated on purpose: three answers about the documents had been unusable, so that they failed,
    and were tried once more at the end of the run.
    """
    by_hash: dict[str, list[dict[str, Any]]] = {}
    unusable: dict[str, list[float]] = {}
    for each in sorted(seen, key=lambda one: one["at"]):
        if each["status"] == 200:
            by_hash.setdefault(each["hash"], []).append(each)
            if each["fault"] == "malformed":
                unusable.setdefault(each["about"], []).append(each["answered_at"])
    margins, on_purpose = [], 0
    for answers in by_hash.values():
        for first, again in pairwise(answers):
            if sum(moment < again["at"] for moment in unusable.get(again["about"], ())) >= 3:
                on_purpose += 1
                continue
            # What was sent before a kill may reach a busy server after it.
            between = [moment for moment in kills if first["at"] - REACH_S < moment < again["at"]]
            margins.append(min(between, default=math.inf) - first["answered_at"])
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
    """Requests of which two answers were stored, though their document was not tried once more."""
    query = """
        SELECT count(*) FROM (
            SELECT request_key, document_id FROM llm_calls WHERE outcome IN ('ok', 'invalid', 'truncated')
            GROUP BY request_key, document_id HAVING count(*) > 1) AS repeated
        JOIN extractions ON extractions.document_id = repeated.document_id WHERE attempts = 1
    """
    engine = open_engine(plan.database)
    with engine.connect() as connection:
        count = int(connection.execute(text(query)).scalar_one())
    engine.dispose()
    return count
