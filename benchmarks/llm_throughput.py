"""Calls per second without a rate limit, beside those of litellm alone; for ``llm.py``."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from httpx import Limits
from llm_report import Figure, show
from llm_workers import FORK, Plan, make_document, open_extractor, run_workers, setting
from openai import DefaultHttpxClient, OpenAI

from ingest_pipeline.chunking import Span
from ingest_pipeline.extraction.prompt import Passage
from ingest_pipeline.llm.transport import load_litellm


def throughput(postgresql: bool) -> None:
    """64 threads and 200 ms: the latency allows 320 calls/s, litellm's CPU fewer. In turns, as load varies."""
    rounds, calls = 3, 640
    for processes, threads in ((1, 64), (2, 32)):
        bare_s = client_s = 0.0
        for _ in range(rounds):
            with setting(postgresql, latency_s=0.2) as (plan, _):
                plan = replace(plan, documents=calls, threads=threads, concurrency=64, sentences=3)
                bare_s += bare_litellm(plan, processes)
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
            document = make_document(number, sentences=plan.sentences)
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
