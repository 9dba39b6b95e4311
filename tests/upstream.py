"""A loopback server that speaks OpenAI's language: it answers what it is told to, and remembers what it was asked."""

import json
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Body = dict[str, Any]

_CALL = {"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": '{"day":"Sunday"}'}}
USAGE = {
    "prompt_tokens": 50,
    "completion_tokens": 7,
    "total_tokens": 57,
    "prompt_tokens_details": {"cached_tokens": 20},
}

WHOLE: Body = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1_700_000_000,
    "model": "gpt-x-2026-01-01",
    "system_fingerprint": "fp_1",
    "service_tier": "default",
    "of_later_versions": {"a": 1},
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": None, "refusal": None, "tool_calls": [_CALL]},
            "logprobs": None,
            "finish_reason": "tool_calls",
        },
        {"index": 1, "message": {"role": "assistant", "content": "Grüße — 你好"}, "finish_reason": "of_its_own"},
    ],
    "usage": USAGE,
}


def _chunk(index: int, delta: Body, reason: str | None = None, **more: Any) -> Body:
    choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_700_000_000}
    return {**head, "model": "gpt-x-2026-01-01", "choices": [choice], "usage": None, **more}


CHUNKS: list[Body] = [
    _chunk(0, {"role": "assistant", "content": "", "refusal": None}, system_fingerprint="fp_1", obfuscation="x9"),
    _chunk(1, {"role": "assistant", "content": "Grüße"}),
    _chunk(0, {"tool_calls": [{"index": 0, **_CALL, "function": {"name": "look_up", "arguments": ""}}]}),
    _chunk(0, {"tool_calls": [{"index": 0, "function": {"arguments": '{"day":'}}]}),
    _chunk(0, {"tool_calls": [{"index": 0, "function": {"arguments": '"Sunday"}'}}]}),
    _chunk(0, {}, "tool_calls"),
    _chunk(1, {"content": " — 你好"}),
    _chunk(1, {}, "length"),
    _chunk(0, {}) | {"choices": [], "usage": USAGE},
]
"""Two choices at once, one of which goes on after the other ended."""


@dataclass(frozen=True)
class Asked:
    path: str
    headers: Mapping[str, str]
    body: Body


class Upstream:
    """Start with ``with``. ``refuse`` makes it answer with an error; ``breaks_off`` ends streams half-way.

    ``answer`` is another one than ``WHOLE`` or ``CHUNKS``: its type and what it says.

    ``hold`` keeps streams waiting before their last chunk until ``go`` is set; ``waiting`` is set meanwhile.
    """

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.refusal: tuple[int, dict[str, str], bytes] | None = None
        self.answer: tuple[str, bytes] | None = None
        self.breaks_off = False
        self.hold = False
        self.latency_s = 0.0
        self.waiting, self.go = threading.Event(), threading.Event()
        outer = self

        class Handler(_Handler):
            upstream = outer

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    @property
    def messages(self) -> list[Body]:
        """Of the last request."""
        messages: list[Body] = self.asked[-1].body["messages"]
        return messages

    def refuse(self, status: int, error: Any, **headers: str) -> None:
        content = error if isinstance(error, bytes) else json.dumps({"error": error}).encode()
        self.refusal = (status, {name.replace("_", "-"): value for name, value in headers.items()}, content)

    def __enter__(self) -> "Upstream":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.go.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are part of the tests."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    upstream: Upstream
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.upstream.asked.append(Asked(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        time.sleep(self.upstream.latency_s)
        if self.upstream.refusal:
            self._answer(*self.upstream.refusal)
        elif self.upstream.answer:
            self._answer(200, {"Content-Type": self.upstream.answer[0]}, self.upstream.answer[1])
        elif body.get("stream"):
            self._stream()
        else:
            self._answer(200, {"Content-Type": "application/json"}, json.dumps(WHOLE).encode())

    def _answer(self, status: int, headers: Mapping[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for number, chunk in enumerate(CHUNKS):
                if number == len(CHUNKS) // 2 and self.upstream.breaks_off:
                    self.close_connection = True
                    return
                if number == len(CHUNKS) - 1 and self.upstream.hold:
                    self.upstream.waiting.set()
                    self.upstream.go.wait(20)
                self._event(json.dumps(chunk))
            self._event("[DONE]")
            self.wfile.write(b"0\r\n\r\n")
        except ConnectionError:
            self.close_connection = True

    def _event(self, data: str) -> None:
        event = f"data: {data}\n\n".encode()
        self.wfile.write(f"{len(event):x}\r\n".encode() + event + b"\r\n")
        self.wfile.flush()


def main() -> None:
    """As a process: prints its address. The argument is how many seconds an answer takes."""
    with Upstream() as upstream:
        upstream.latency_s = float(sys.argv[1]) if len(sys.argv) > 1 else 0.0
        print(upstream.base_url, flush=True)  # noqa: T201
        threading.Event().wait()


if __name__ == "__main__":
    main()
