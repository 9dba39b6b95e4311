"""A client that costs little: sends prepared requests over some connections and says how each was answered.

    python benchmarks/api_load.py --url http://127.0.0.1:8000 --clients 16 [--per-second 100] < requests > answers

Reads JSON Lines of ``{"method", "path", "body"?}``; writes one JSON line per request, in their order:
``[status, milliseconds, error code, document id]``, then one with the wall and CPU seconds of all. With
``--per-second`` requests are due at fixed times whether earlier ones are answered or not, and the milliseconds count
from when a request was due: a server that stops for a second is not asked less, and it shows.
"""

import argparse
import asyncio
import json
import re
import sys
import time
from collections.abc import Iterator
from itertools import count
from urllib.parse import urlsplit

Answer = tuple[int, float, str | None, str | None]

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.I)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--per-second", type=float, default=0.0)
    arguments = parser.parse_args()
    address = urlsplit(arguments.url)
    assert address.hostname is not None
    requests = [_encode(json.loads(line), address.netloc) for line in sys.stdin]
    spacing = 1 / arguments.per_second if arguments.per_second else 0.0
    began, cpu = time.perf_counter(), time.process_time()
    answers = asyncio.run(send(address.hostname, address.port or 80, requests, arguments.clients, spacing))
    taken = {"wall_s": time.perf_counter() - began, "cpu_s": time.process_time() - cpu}
    for answer in answers:
        print(json.dumps(answer))
    print(json.dumps(taken))


def _encode(request: dict[str, object], host: str) -> bytes:
    body = json.dumps(request["body"]).encode() if "body" in request else b""
    head = f"{request['method']} {request['path']} HTTP/1.1\r\nHost: {host}\r\n"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


async def send(host: str, port: int, requests: list[bytes], clients: int, spacing: float) -> list[Answer]:
    """The answers in the requests' order."""
    answers: list[Answer] = [(0, 0.0, None, None)] * len(requests)
    numbers, began = count(), time.perf_counter()

    async def client() -> None:
        reader, writer = await asyncio.open_connection(host, port, limit=2**22)
        for number in _below(numbers, len(requests)):
            due = began + number * spacing if spacing else time.perf_counter()
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            writer.write(requests[number])
            status, body = await _receive(reader)
            answers[number] = (status, (time.perf_counter() - due) * 1000, *_names(body))
        writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return answers


def _below(numbers: Iterator[int], end: int) -> Iterator[int]:
    """The numbers that no other client has taken."""
    while (number := next(numbers)) < end:
        yield number


async def _receive(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = _LENGTH.search(head)
    assert length, "the server always says how long its answer is"
    return int(head.split(b" ", 2)[1]), await reader.readexactly(int(length[1]))


def _names(body: bytes) -> tuple[str | None, str | None]:
    """The error's code and the document's id, where the answer has them."""
    answer = json.loads(body)
    error = answer.get("error", {})
    return error.get("code"), error.get("details", {}).get("documentId") or answer.get("documentId")


if __name__ == "__main__":
    main()
