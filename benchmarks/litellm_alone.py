"""What plain ``litellm.completion`` reaches with nothing around it: the ceiling of whatever calls models through it."""

import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

from ingest_pipeline.llm.exchange import AnswerFormat, Message
from ingest_pipeline.llm.transport import load_litellm

MODEL = "openai/test"
MAX_OUTPUT_TOKENS, TIMEOUT_S = 1_000, 30
FORK = multiprocessing.get_context("fork")

Question: TypeAlias = tuple[Sequence[Message], AnswerFormat]


def calls_per_second(
    base_url: str, processes: int, threads: int, calls: int, question: Callable[[int], Question]
) -> float:
    """All processes together, ``threads`` in each; ``question`` makes that of a number.

    With an HTTP client of ours: those of litellm's own that it drops are closed while other threads use them.
    """
    barrier = FORK.Barrier(processes + 1)

    def run() -> None:
        # Here, not before the fork: collecting garbage in a forked process copies all that its parent has loaded.
        litellm = load_litellm()
        from httpx import Limits
        from openai import DefaultHttpxClient, OpenAI

        client = OpenAI(
            api_key="benchmark", base_url=base_url, max_retries=0,
            http_client=DefaultHttpxClient(limits=Limits(max_connections=None)),
        )  # fmt: skip

        def ask(number: int) -> None:
            messages, answer = question(number)
            shape = {"name": answer.name, "schema": answer.schema, "strict": True}
            litellm.completion(
                model=MODEL, api_base=base_url, api_key="benchmark", client=client, temperature=0.0,
                messages=[{"role": each.role, "content": each.content} for each in messages],
                response_format={"type": "json_schema", "json_schema": shape}, max_tokens=MAX_OUTPUT_TOKENS,
                timeout=TIMEOUT_S, max_retries=0, num_retries=0,
            )  # fmt: skip

        ask(0)
        barrier.wait()
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(ask, range(calls // processes)))

    workers = [FORK.Process(target=run) for _ in range(processes)]
    for worker in workers:
        worker.start()
    barrier.wait()
    began = time.monotonic()
    for worker in workers:
        worker.join()
    return calls / (time.monotonic() - began)
