"""What the LLM proxy adds to a call: OpenAI's client through it beside litellm asking the same upstream directly.

    python benchmarks/proxy.py [--calls 300] [--database postgresql://…] [--latency 0.05]

A loopback upstream and `ingest serve` run as processes of their own. Calls alternate, so that what else the machine
does strikes both alike. Every call says something new of one of 50 profiles that are known already: each one injects,
stores and is extracted afterwards (offline) while the next one is under way. Figures are milliseconds; on a machine
that does much else p10 says more than p50.
"""

import argparse
import logging
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parent.parent
CITIES = ("Lisbon", "Porto", "Madrid", "Vienna", "Ghent", "Oslo", "Turin", "Lyon")
PROFILES = 50
AIM_MS = 15.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--database", default="", help="a PostgreSQL URL; SQLite if left out")
    parser.add_argument("--latency", type=float, default=0.05, help="seconds that the upstream takes")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as home,
        upstream(options.latency) as address,
        serving(home, address, options.database) as proxy,
    ):
        measure(address, proxy, options.calls)


def measure(address: str, proxy: str, calls: int) -> None:
    call, chat = litellm_call(address), openai_call(f"{proxy}/v1")
    asked: dict[str, Callable[[int], Any]] = {
        "direct": partial(call, stream=False),
        "proxy": partial(chat, stream=False),
        "direct stream": lambda number: list(call(number, stream=True)),
        "proxy stream": lambda number: list(chat(number, stream=True)),
    }
    for number in range(2 * PROFILES):
        for ask in asked.values():
            ask(number)
    taken: dict[str, list[float]] = {name: [] for name in asked}
    for number in range(2 * PROFILES, 2 * PROFILES + calls):
        for name, ask in asked.items():
            began = time.perf_counter()
            ask(number)
            taken[name].append(1000 * (time.perf_counter() - began))
    for name, times in taken.items():
        cuts = statistics.quantiles(times, n=100)
        say(f"{name:14} p10 {cuts[9]:6.1f}   p50 {cuts[49]:6.1f}   p90 {cuts[89]:6.1f}   p99 {cuts[98]:6.1f}")
    for kind in ("", " stream"):
        through, direct = (statistics.quantiles(taken[f"{name}{kind}"], n=100) for name in ("proxy", "direct"))
        added, undisturbed = through[49] - direct[49], through[9] - direct[9]
        verdict = "ok" if added <= AIM_MS else "MISSED"
        say(f"added at p50{kind}: {added:.1f} (aim: at most {AIM_MS:.0f}) {verdict}; at p10: {undisturbed:.1f}")


def messages(number: int) -> Any:
    said = f"In week {number} I moved to {CITIES[number % len(CITIES)]}. What is open on Sundays?"
    return [{"role": "system", "content": "Be brief."}, {"role": "user", "content": said}]


def litellm_call(base_url: str) -> Callable[..., Any]:
    """What an application without the proxy does."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    import litellm

    logging.getLogger("LiteLLM").setLevel(logging.ERROR)  # it warns of the upstream's own finish reason, at each call

    def call(number: int, stream: bool) -> Any:
        return litellm.completion(
            model="openai/gpt-x",
            messages=messages(number),
            stream=stream,
            api_base=base_url,
            api_key="k",
            max_retries=0,
            num_retries=0,
        )

    return call


def openai_call(base_url: str) -> Callable[..., Any]:
    from openai import OpenAI

    complete = OpenAI(base_url=base_url, api_key="k", max_retries=0).chat.completions.create

    def call(number: int, stream: bool) -> Any:
        who = f"person {number % PROFILES}"
        return complete(model="gpt-x", messages=messages(number), stream=stream, user=who)

    return call


@contextmanager
def upstream(latency_s: float) -> Iterator[str]:
    command = [sys.executable, "-m", "tests.upstream", str(latency_s)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)  # noqa: S603
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait()


@contextmanager
def serving(home: str, address: str, database: str) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("INGEST_")}
    environment |= {"INGEST_HOME": home, "INGEST_UPSTREAM_BASE_URL": address, "INGEST_PROXY_RPM": "1000000"}
    environment |= {"INGEST_DATABASE_URL": database} if database else {}
    command = [str(Path(sys.executable).with_name("ingest")), "serve", "--port", str(port)]
    null = subprocess.DEVNULL
    process = subprocess.Popen(command, env=environment, stdout=null, stderr=null)  # noqa: S603
    try:
        wait_for(f"http://127.0.0.1:{port}/ready")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def wait_for(url: str) -> None:
    for _ in range(600):
        try:
            httpx.get(url).raise_for_status()
            return
        except httpx.HTTPError:
            time.sleep(0.05)
    raise SystemExit(f"{url} does not answer")


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
