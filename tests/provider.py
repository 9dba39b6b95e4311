"""A loopback OpenAI-compatible server that behaves as badly as a real one, and remembers what it saw.

In a thread:    with Provider(Behaviour(rpm=600)) as provider: … provider.base_url … provider.seen
As a process:   python tests/provider.py --rpm 600 --errors 0.1   (prints its address)

As a process it also answers GET /_seen, GET /_count and POST /_behave.

It serves POST …/chat/completions and …/embeddings. ``answer`` maps a request body to the content of the answer; the
default one finds something in each document of the extraction prompt.
"""

import argparse
import asyncio
import hashlib
import json
import re
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self, TypeAlias

Body: TypeAlias = dict[str, Any]
Answer: TypeAlias = Callable[[Body], str]


@dataclass(frozen=True)
class Behaviour:
    """Shares (``errors``, ``malformed``, ``truncated``) are of admitted requests, decided by a seeded sequence.

    window_s: the limit is ``rpm * window_s / 60`` requests in any window of this length (60 = a plain sliding minute).
    gcra_burst: when set, the limit is a token bucket of that size instead.
    down_from, down_until: request numbers (from 1) between which every request gets a 503.
    status, error: every request gets this refusal.
    without: parameters that are refused with a 400, such as ``response_format``.
    """

    rpm: float | None = None
    window_s: float = 60.0
    gcra_burst: int | None = None
    retry_after: bool = True
    latency_s: float = 0.0
    errors: float = 0.0
    malformed: float = 0.0
    truncated: float = 0.0
    down_from: int = 0
    down_until: int = 0
    status: int = 200
    error: str = ""
    without: tuple[str, ...] = ()
    seed: int = 0


@dataclass(frozen=True)
class Seen:
    """One request: the hash of its body, when it came and was answered (seconds since the epoch), with what.

    ``about`` is the same for a question about some documents and for the further questions after a wrong answer.
    """

    hash: str
    at: float
    answered_at: float
    status: int
    fault: str
    input_tokens: int
    output_tokens: int
    auth: str
    about: str = ""
    body: str = field(repr=False, default="")


def tokens(text: str) -> int:
    """What this provider counts, and so what it bills."""
    return max(1, (len(text.encode("utf-8", "replace")) + 3) // 4)


class Provider:
    """Start with ``with``; runs in a thread of its own."""

    def __init__(
        self, behaviour: Behaviour | None = None, answer: Answer | None = None, keep_bodies: bool = True
    ) -> None:
        self.behaviour = behaviour or Behaviour()
        self.answer: Answer = answer or find_something
        self.embed: Callable[[str], list[float]] = lambda text: [float(len(text)), 1.0]
        self.seen: list[Seen] = []
        self.port = 0
        self._keep_bodies = keep_bodies
        self._times: deque[float] = deque()
        self._bucket_at = 0.0
        self._number = 0
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._serve_in_thread, args=(0,), daemon=True)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def behave(self, **changes: Any) -> None:
        """Change its ways from the next request on."""
        self.behaviour = replace(self.behaviour, **changes)

    def statuses(self) -> Counter[int]:
        return Counter(seen.status for seen in self.seen)

    def answered_twice(self) -> int:
        """How many answers it gave for requests that it had answered before."""
        answered = Counter(seen.hash for seen in self.seen if seen.status == 200)
        return sum(count - 1 for count in answered.values())

    def serve(self, port: int) -> None:
        """Serve in this thread until stopped."""
        self._serve_in_thread(port)

    def _serve_in_thread(self, port: int) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve(port))
        self._loop.close()

    async def _serve(self, port: int) -> None:
        server = await asyncio.start_server(self._connection, "127.0.0.1", port, limit=2**24, backlog=512)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in asyncio.all_tasks():
            if task is not asyncio.current_task():
                task.cancel()
        await asyncio.sleep(0)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                length = re.search(r"content-length: *(\d+)", head, re.I)
                body = await reader.readexactly(int(length[1])) if length else b""
                status, headers, answer = await self._respond(head, body)
                lines = [f"HTTP/1.1 {status} X", "Content-Type: application/json", f"Content-Length: {len(answer)}"]
                writer.write("\r\n".join([*lines, *headers, "", ""]).encode() + answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _respond(self, head: str, body: bytes) -> tuple[int, list[str], bytes]:
        path = head.split(" ", 2)[1]
        embedding = path.endswith("/embeddings")
        if path == "/_seen":
            return 200, [], json.dumps([asdict(seen) for seen in self.seen]).encode()
        if path == "/_count":
            return 200, [], str(len(self.seen)).encode()
        if path == "/_behave":
            self.behave(**json.loads(body))
            return 200, [], b"{}"
        auth = re.search(r"authorization: *(\S[^\r]*)", head, re.I)
        at = time.time()
        asked = json.loads(body)
        status, headers, answer, fault, used = await self._complete(asked, at, embedding)
        kept = body.decode() if self._keep_bodies else ""
        digest = hashlib.sha256(body).hexdigest()[:24]
        about = "" if embedding else marks_of(asked)
        self.seen.append(Seen(digest, at, time.time(), status, fault, *used, auth[1] if auth else "", about, kept))
        return status, headers, json.dumps(answer).encode()

    async def _complete(
        self, body: Body, at: float, embedding: bool = False
    ) -> tuple[int, list[str], Body, str, tuple[int, int]]:
        behaviour = self.behaviour
        wait = self._refusal(behaviour, at)
        if wait is not None:
            headers = [f"Retry-After: {max(1, int(wait + 0.999))}"] if behaviour.retry_after else []
            return 429, headers, _error("rate limit reached", "rate_limit_exceeded"), "refused", (0, 0)
        self._number += 1
        number = self._number
        await asyncio.sleep(behaviour.latency_s)
        if behaviour.status != 200:
            return behaviour.status, [], _error(behaviour.error, behaviour.error), "configured", (0, 0)
        if behaviour.down_from <= number <= behaviour.down_until:
            return 503, [], _error("down", "server_error"), "down", (0, 0)
        for parameter in behaviour.without:
            if parameter in body:
                return 400, [], _error(f"{parameter} is not supported", "unsupported_parameter"), "without", (0, 0)
        if embedding:
            return self._embedded(body)
        return self._answered(body, behaviour, number)

    def _embedded(self, body: Body) -> tuple[int, list[str], Body, str, tuple[int, int]]:
        """``embed`` maps a text to its vector."""
        vectors = [self.embed(text) for text in body["input"]]
        data = [{"object": "embedding", "index": n, "embedding": vector} for n, vector in enumerate(vectors)]
        used = sum(tokens(text) for text in body["input"])
        usage = {"prompt_tokens": used, "total_tokens": used}
        return 200, [], {"object": "list", "data": data, "model": body["model"], "usage": usage}, "", (used, 0)

    def _answered(
        self, body: Body, behaviour: Behaviour, number: int
    ) -> tuple[int, list[str], Body, str, tuple[int, int]]:
        draw = hashlib.sha256(f"{behaviour.seed}/{number}".encode()).digest()
        chance = int.from_bytes(draw[:8], "big") / 2**64
        content, reason, fault = self.answer(body), "stop", ""
        if chance < behaviour.errors:
            return 500, [], _error("internal error", "server_error"), "error", (0, 0)
        if chance < behaviour.errors + behaviour.malformed:
            content, fault = malformed(content, draw[8]), "malformed"
        elif chance < behaviour.errors + behaviour.malformed + behaviour.truncated:
            content, reason, fault = content[: len(content) * 2 // 3], "length", "truncated"
        prompt = "".join(message["content"] for message in body["messages"])
        used = (tokens(prompt), tokens(content))
        usage = {"prompt_tokens": used[0], "completion_tokens": used[1], "total_tokens": sum(used)}
        message = {"role": "assistant", "content": content}
        choice = {"index": 0, "message": message, "finish_reason": reason}
        answer = {"id": f"c{number}", "object": "chat.completion", "created": 1, "model": body["model"]}
        return 200, [], {**answer, "choices": [choice], "usage": usage}, fault, used

    def _refusal(self, behaviour: Behaviour, at: float) -> float | None:
        """Seconds after which to come again; None when the request is within the limit."""
        if behaviour.rpm is None:
            return None
        if behaviour.gcra_burst is not None:
            spacing = 60 / behaviour.rpm
            early = self._bucket_at - behaviour.gcra_burst * spacing - at
            if early > 0:
                return early
            self._bucket_at = max(self._bucket_at, at) + spacing
            return None
        limit = behaviour.rpm * behaviour.window_s / 60
        while self._times and self._times[0] <= at - behaviour.window_s:
            self._times.popleft()
        if len(self._times) + 1 > limit:
            return self._times[0] + behaviour.window_s - at if self._times else behaviour.window_s
        self._times.append(at)
        return None


def _error(message: str, code: str) -> Body:
    return {"error": {"message": message, "type": code, "code": code}}


def malformed(content: str, choice: int) -> str:
    """Valid content spoilt beyond what a lenient parser should accept."""
    return [content[: len(content) // 2], "I am sorry, I cannot do that.", "{}", '["a", 1]', ""][choice % 5]


_DOCUMENT = re.compile(r"<document (\w+) (D\d+)[^>]*>\n(.*?)\n</document \1>", re.S)
_TAG = re.compile(r"^<\w+ [^>\n]*>$", re.M)


def documents_of(body: Body) -> dict[str, str]:
    """Reference -> text (with its speaker marks) of each document in an extraction prompt."""
    prompt = next(message["content"] for message in reversed(body["messages"]) if message["role"] == "user")
    for message in body["messages"]:
        if message["role"] == "user" and _DOCUMENT.search(message["content"]):
            prompt = message["content"]
    return {found[2]: found[3] for found in _DOCUMENT.finditer(prompt)}


def marks_of(body: Body) -> str:
    """The marks of the documents that a prompt, or one that follows it, is about."""
    contents = (message["content"] for message in body["messages"] if message["role"] == "user")
    return " ".join(dict.fromkeys(found[1] for content in contents for found in _DOCUMENT.finditer(content)))


def find_something(body: Body) -> str:
    """One memory per document: its first line of words, quoted exactly."""
    found = []
    for reference, text in documents_of(body).items():
        lines = [line.strip() for line in _TAG.sub("", text).splitlines() if line.strip()]
        memories = []
        if lines:
            said = f"The person said: {lines[0]}"
            memories.append(
                {"type": "fact", "content": said, "quote": lines[0], "about": "subject", "confidence": 0.9}
                | {"importance": 0.5, "date_phrase": None, "sensitive": None, "retracted": False}
            )
        found.append({"document": reference, "traits": [], "memories": memories})
    return json.dumps({"documents": found})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--behaviour", type=json.loads, default={}, help="fields of Behaviour as JSON")
    arguments = parser.parse_args()
    provider = Provider(Behaviour(**arguments.behaviour), keep_bodies=False)

    def announce() -> None:
        provider._ready.wait()
        print(provider.base_url, flush=True)  # noqa: T201

    threading.Thread(target=announce, daemon=True).start()
    provider.serve(arguments.port)


if __name__ == "__main__":
    main()
