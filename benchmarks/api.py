"""What the HTTP API does in a second, on both databases: real server processes, the client a process of its own.

    python benchmarks/api.py [--quick] [--databases sqlite postgresql] [--workers 1 2] [--only ingest mixed]

- ingest: the offline extractor; clients that ask as fast as they are answered, then a fixed number of texts a second.
- reads: a profile, its traits, its memories.
- provider: a loopback provider that takes 200 ms, 64 clients; beside what litellm alone reaches on this machine.
- mixed: ingests and reads while the provider fails 5 % of its calls; every text that was accepted must be stored.

Client and provider share the machine with the server. CPU milliseconds are the server's own, per request: on a machine
that others use too, only they and the ratios compare.
"""

import argparse
import os
import random
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count, cycle, islice, zip_longest
from pathlib import Path
from typing import Any, TypeAlias

from api_serving import Answers, Serving, databases, load, provider, rate_of_litellm
from sqlalchemy import select

from ingest_pipeline.demo.invent import Inventor
from ingest_pipeline.demo.people import Person
from ingest_pipeline.store.engine import create_store_engine, reading
from ingest_pipeline.store.tables import DocumentRow

SEED = 7
PEOPLE = 200
CLIENTS = 8
MANY_CLIENTS = 64
PROVIDER_S = 0.2
ERRORS = 0.05
PACE = 100
AIM_INGESTS, AIM_P99_MS, AIM_READS, AIM_SHARE = 100, 100, 500, 0.8
READS = ("", "/traits", "/memories")
SCENARIOS = ("ingest", "reads", "provider", "mixed")
Request: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Size:
    """Numbers of requests. ``known``: texts that are ingested before anything is measured."""

    known: int
    ingests: int
    paced: int
    reads: int
    mixed: int


FULL = Size(known=1_000, ingests=2_000, paced=1_500, reads=6_000, mixed=10_000)
QUICK = Size(known=300, ingests=400, paced=300, reads=1_500, mixed=1_500)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a minute or two, with fewer requests")
    parser.add_argument("--databases", nargs="*", choices=("sqlite", "postgresql"), default=["sqlite", "postgresql"])
    parser.add_argument("--workers", nargs="*", type=int, default=[1, 2])
    parser.add_argument("--only", nargs="*", choices=SCENARIOS, default=list(SCENARIOS))
    arguments = parser.parse_args()
    size = QUICK if arguments.quick else FULL
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {CLIENTS} clients unless said")
    for kind in arguments.databases:
        with tempfile.TemporaryDirectory(prefix="bench-api-") as folder, databases(kind, Path(folder)) as urls:
            for workers in arguments.workers:
                print(f"\n{kind}, {workers} worker(s)")
                home = Path(folder) / f"home-{workers}"
                if {"ingest", "reads"} & set(arguments.only):
                    offline(Serving(next(urls), workers, home), size, arguments.only)
                if "provider" in arguments.only:
                    slow_provider(next(urls), workers, home, size)
                if "mixed" in arguments.only:
                    mixed(next(urls), workers, home, size)


def offline(serving: Serving, size: Size, only: Sequence[str]) -> None:
    known, fast, paced = split(ingests(), size.known, size.ingests, size.paced)
    with serving:
        prepare(serving, known, [*fast, *paced])
        if "ingest" in only:
            show("ingest", load(serving, fast, CLIENTS), AIM_INGESTS, AIM_P99_MS)
            answers = load(serving, paced, MANY_CLIENTS, PACE)
            show(f"ingest, {PACE} due each second", answers, None, AIM_P99_MS)
        if "reads" in only:
            show("reads", load(serving, reads(size.reads), CLIENTS), AIM_READS, None)


def slow_provider(database: str, workers: int, home: Path, size: Size) -> None:
    known, asked = split(ingests(), size.known // 2, size.ingests)
    with provider(latency_s=PROVIDER_S) as base_url:
        alone = rate_of_litellm(base_url, workers, MANY_CLIENTS, size.ingests, asked[0]["body"]["data"])
        with Serving(database, workers, home, **model(base_url)) as serving:
            prepare(serving, known, asked)
            answers = load(serving, asked, MANY_CLIENTS)
    show(f"ingest, {PROVIDER_S * 1000:.0f} ms provider, {MANY_CLIENTS} clients", answers, None, None)
    ceiling = min(MANY_CLIENTS / PROVIDER_S, alone)
    share = answers.per_second / ceiling
    print(f"    litellm alone {alone:.0f}/s, so the ceiling is {ceiling:.0f}/s: {share:.2f} of it (aim {AIM_SHARE})")


def mixed(database: str, workers: int, home: Path, size: Size) -> None:
    """Half of the requests are ingests."""
    known, asked = split(ingests(), size.known // 2, size.mixed // 2)
    requests = [*asked, *reads(size.mixed - len(asked))]
    random.Random(SEED).shuffle(requests)
    with (
        provider(latency_s=PROVIDER_S / 10, errors=ERRORS) as base_url,
        Serving(database, workers, home, **model(base_url)) as serving,
    ):
        prepare(serving, known, asked)
        before = stored(database)
        answers = load(serving, requests, MANY_CLIENTS)
    show(f"mixed, {ERRORS:.0%} provider errors, {MANY_CLIENTS} clients", answers, None, None)
    accepted = {document for _, _, _, document in answers.each if document is not None}
    kept = {document: state for document, state in stored(database).items() if document not in before}
    outcomes = Counter(f"{status} {code or ''}".strip() for status, _, code, _ in answers.each)
    print(f"    answers {dict(outcomes)}, states of the texts {dict(Counter(kept.values()))}")
    print(
        f"    texts sent {len(asked):,}, accepted {len(accepted):,}, stored {len(kept):,}; "
        f"accepted and lost {len(accepted - kept.keys())} (aim 0)"
    )


def model(base_url: str) -> dict[str, str]:
    return {
        "INGEST_MODEL": "openai/test",
        "INGEST_API_BASE": base_url,
        "INGEST_LLM_API_KEY": "benchmark",
        "INGEST_MAX_CONCURRENCY": str(MANY_CLIENTS),
    }


def ingests() -> Iterator[Request]:
    """Texts about 200 people, one each and then the next each, then about 200 others; no text comes twice."""
    for start in count(0, PEOPLE):
        people = enumerate(Inventor(SEED).people(PEOPLE, start), start)
        rounds = zip_longest(*(_texts(number, person) for number, person in people))
        yield from (request for request in chain.from_iterable(rounds) if request is not None)


def _texts(number: int, person: Person) -> list[Request]:
    """Single messages, and all of them in one."""
    own = [mail.text for mail in person.mails]
    own += ["\n".join(words for who, words in chat.lines if who == "me") for chat in person.chats]
    own = [words for words in dict.fromkeys(own) if words.strip()]
    path = f"/api/profiles/{_external_id(number)}/ingest"
    bodies = [{"data": words, "source": "benchmark"} for words in [*own, "\n\n".join(own)]]
    return [{"method": "POST", "path": path, "body": body} for body in bodies]


def _external_id(number: int) -> str:
    return f"person-{number}"


def reads(number: int) -> list[Request]:
    """Of the people who are known first."""
    chance = random.Random(SEED)
    paths = (f"/api/profiles/{_external_id(chance.randrange(PEOPLE))}{part}" for part in cycle(READS))
    return [{"method": "GET", "path": path} for path in islice(paths, number)]


def split(requests: Iterator[Request], *sizes: int) -> list[list[Request]]:
    return [list(islice(requests, size)) for size in sizes]


def prepare(serving: Serving, known: Sequence[Request], later: Sequence[Request]) -> None:
    """Create the profiles and ingest what is known."""
    people = dict.fromkeys(request["path"].split("/")[3] for request in (*known, *later))
    created = [{"method": "POST", "path": "/api/profiles", "body": {"externalId": name}} for name in people]
    for requests in (created, known):
        statuses = Counter(status for status, *_ in load(serving, requests, CLIENTS).each)
        if set(statuses) != {200}:
            raise SystemExit(f"what is to be known beforehand was answered with {dict(statuses)}")


def stored(database: str) -> dict[str, str]:
    """Document ids with their states."""
    engine = create_store_engine(database)
    with reading(engine) as connection:
        found = {row.id: row.state for row in connection.execute(select(DocumentRow.id, DocumentRow.state))}
    engine.dispose()
    return found


def show(name: str, answers: Answers, aim_rate: int | None, aim_p99: int | None) -> None:
    rate, p99 = answers.per_second, answers.ms(99)
    against = [f"{rate / aim_rate:.2f} of {aim_rate}/s"] if aim_rate else []
    against += [f"p99 {p99 / aim_p99:.2f} of {aim_p99} ms"] if aim_p99 else []
    failed = sum(status >= 400 for status, *_ in answers.each)
    print(
        f"  {name:<42} {rate:>6.0f}/s  p50 {answers.ms(50):>6.1f}  p99 {p99:>7.1f} ms  CPU {answers.cpu_ms:>5.2f} ms  "
        f"{'; '.join(against)}{f'; {failed} failed' if failed else ''}",
        flush=True,
    )


if __name__ == "__main__":
    main()
