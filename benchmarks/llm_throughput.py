"""Calls per second without a rate limit, beside those of litellm alone; for ``llm.py``."""

from dataclasses import replace

from litellm_alone import Question, calls_per_second
from llm_report import Figure, show
from llm_workers import Plan, make_document, open_extractor, run_workers, setting

from ingest_pipeline.chunking import Span
from ingest_pipeline.extraction.prompt import Passage


def throughput(postgresql: bool) -> None:
    """64 threads and 200 ms: the latency allows 320 calls/s, litellm's CPU fewer. In turns, as load varies."""
    rounds, calls = 3, 640
    for processes, threads in ((1, 64), (2, 32)):
        bare_s = client_s = 0.0
        for _ in range(rounds):
            with setting(postgresql, latency_s=0.2) as (plan, _):
                plan = replace(plan, documents=calls, threads=threads, concurrency=64, sentences=3)
                bare_s += calls / bare_litellm(plan, processes)
                client_s += run_workers(plan, processes)[1]
        bare, rate, latency = rounds * calls / bare_s, rounds * calls / client_s, 64 / 0.2
        share = rate / min(bare, latency)
        show(
            f"no RPM limit, {processes} process(es) x {threads} threads, 200 ms",
            [
                Figure("the latency allows, calls/s", latency),
                Figure("litellm alone, calls/s", bare),
                Figure("the lower one is", "litellm's CPU" if bare < latency else "the latency"),
                Figure("this client, calls/s", rate),
                Figure("this client / the lower one", share, ">= 0.90", share >= 0.90),
            ],
        )


def bare_litellm(plan: Plan, processes: int) -> float:
    """Calls per second of litellm alone, with the same questions, threads, processes and server."""
    extractor = open_extractor(plan)

    def question(number: int) -> Question:
        document = make_document(number, sentences=plan.sentences)
        asked = extractor.request([Passage(document, Span(0, len(document.text)))])
        assert asked.format is not None
        return asked.messages, asked.format

    try:
        return calls_per_second(plan.base_url, processes, plan.threads, plan.documents, question)
    finally:
        extractor.close()
