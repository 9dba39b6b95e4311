"""Upstreams of the LLM proxy over HTTP: their errors, which addresses are asked, and other languages than OpenAI's."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.proxying import chat, proxying, stored, traits
from tests.serving import serving
from tests.upstream import CHUNKS, Body, Upstream


@pytest.fixture
def client(sqlite_url: str, tmp_path: Path, upstream: Upstream) -> Iterator[TestClient]:
    """For what has nothing to do with the kind of database."""
    with proxying(sqlite_url, tmp_path, upstream) as client:
        yield client


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("status", "error", "message", "code"),
    [
        (400, {"message": "too long", "code": "context_length_exceeded"}, "too long", "context_length_exceeded"),
        (401, {"message": "bad key: conf***red"}, "the upstream refuses the key that is configured here", None),
        (404, {"message": "no such model", "code": "model_not_found"}, "no such model", "model_not_found"),
        (429, {"message": "slow down", "code": "rate_limit_exceeded"}, "slow down", "rate_limit_exceeded"),
        (500, b"<html>oops", "the upstream answered with HTTP 500", None),
        (503, "down", "down", None),
        (307, {"message": "elsewhere"}, "elsewhere", None),
    ],
)
def test_an_upstreams_error_passes_through(
    client: TestClient, upstream: Upstream, stream: bool, status: int, error: Any, message: str, code: str | None
) -> None:
    """With its status, its words and its code; once, and nothing is stored."""
    upstream.refuse(status, error, Retry_After="7", Location="http://127.0.0.1:9/")
    response = chat(client, stream=stream)
    told = response.json()["error"]
    assert response.status_code == (status if status >= 400 else 502)
    assert (told["type"], told["code"], told["message"]) == ("upstream_error", "upstream_error", message)
    assert told["details"] == {"status": response.status_code, "code": code}
    assert response.headers["Retry-After"] == "7"
    assert len(upstream.asked) == 1
    assert stored(client) == []


def test_a_callers_own_key_may_be_told_about(client: TestClient, upstream: Upstream) -> None:
    upstream.refuse(401, {"message": "bad key: th***rs"})
    response = chat(client, {"X-Upstream-Key": "theirs"})
    assert response.json()["error"]["message"] == "bad key: th***rs"
    assert upstream.asked[-1].headers["authorization"] == "Bearer theirs"


def test_an_upstream_that_is_not_there_is_a_bad_gateway(sqlite_url: str, tmp_path: Path) -> None:
    with serving(sqlite_url, tmp_path, upstream_base_url="http://127.0.0.1:9/v1") as client:
        response = chat(client)
    assert (response.status_code, response.json()["error"]["code"]) == (502, "upstream_error")


def test_a_stream_that_breaks_off_says_so_and_what_was_said_is_kept(client: TestClient, upstream: Upstream) -> None:
    upstream.breaks_off = True
    response = chat(client, stream=True)
    *frames, last = [json.loads(line.removeprefix("data: ")) for line in response.text.split("\n\n") if line]
    assert frames == CHUNKS[: len(CHUNKS) // 2]
    assert last["error"]["code"] == "upstream_error"
    assert traits(client)["location"] == "Lisbon"


def test_an_address_of_the_callers_choice_is_refused(client: TestClient, upstream: Upstream) -> None:
    for url in ("http://169.254.169.254/v1", "http://localhost:8000", "file:///etc/passwd", "not a url"):
        response = chat(client, {"X-Upstream-Base-URL": url, "X-Upstream-Key": "k"})
        error = response.json()["error"]
        assert (response.status_code, error["type"]) == (403, "permission_denied_error")
        assert error["code"] == "upstream_base_url_not_allowed"
    assert upstream.asked == []


def test_an_allowed_address_is_asked_with_the_callers_key(sqlite_url: str, tmp_path: Path, upstream: Upstream) -> None:
    """Never with the configured one."""
    allowed = {"upstream_key": "configured", "upstream_base_urls": upstream.base_url + "/"}
    with serving(sqlite_url, tmp_path, upstream_base_url="http://127.0.0.1:9/v1", **allowed) as client:
        headers = {"X-Upstream-Base-URL": upstream.base_url}
        response = chat(client, headers)
        assert (response.status_code, response.json()["error"]["code"]) == (400, "missing_upstream_key")
        assert chat(client, headers | {"X-Upstream-Key": "theirs"}).status_code == 200
    assert upstream.asked[-1].headers["authorization"] == "Bearer theirs"


@pytest.mark.parametrize(
    ("headers", "body", "code"),
    [
        ({"X-Upstream-Provider": "ollama"}, {}, "invalid_upstream_provider"),
        ({"X-Upstream-Provider": "anthropic"}, {}, "missing_upstream_key"),
        ({"X-Upstream-Provider": "anthropic", "X-Upstream-Key": "k"}, {"api_base": "x"}, "unsupported_parameter"),
        (
            {"X-Upstream-Provider": "gemini", "X-Upstream-Key": "k"},
            {
                "messages": [
                    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://10.0.0.1/"}}]}
                ]
            },
            "invalid_message_format",
        ),
    ],
)
def test_other_providers_take_a_key_and_what_can_be_translated(
    client: TestClient, upstream: Upstream, headers: dict[str, str], body: Body, code: str
) -> None:
    response = chat(client, headers, **body)
    assert (response.status_code, response.json()["error"]["code"]) == (400, code)
    assert upstream.asked == []


@pytest.mark.filterwarnings("ignore:Item 'summary' on TypedDict class:UserWarning")  # in litellm's own types
def test_a_provider_with_a_language_of_its_own_is_translated(
    sqlite_url: str, tmp_path: Path, upstream: Upstream
) -> None:
    """Tools included; streaming and not."""
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
    with serving(
        sqlite_url, tmp_path, upstream_provider="anthropic", upstream_base_url=upstream.base_url[:-3], upstream_key="k"
    ) as client:
        upstream.answer = ("application/json", json.dumps(CLAUDE).encode())
        answer = chat(client, tools=tools, max_tokens=9, store=True).json()
        assert answer["choices"][0]["message"]["content"] == "Grüße"
        assert (answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]) == (12, 3)
        asked = upstream.asked[-1]
        assert (asked.path, asked.headers["x-api-key"]) == ("/v1/messages", "k")
        assert (asked.body["max_tokens"], asked.body["tools"][0]["name"]) == (9, "f")
        assert "store" not in asked.body
        events = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in CLAUDE_EVENTS)
        upstream.answer = ("text/event-stream", events.encode())
        *frames, last = chat(client, stream=True).text.removesuffix("\n\n").split("\n\n")
        assert last == "data: [DONE]"
        chunks = [json.loads(frame.removeprefix("data: ")) for frame in frames]
        assert "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks) == "Grüße"
        upstream.refuse(429, {"message": "slow down"})
        response = chat(client)
        assert (response.status_code, response.json()["error"]["type"]) == (429, "upstream_error")
        assert traits(client)["location"] == "Lisbon"


CLAUDE: Body = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn"}
CLAUDE |= {"content": [{"type": "text", "text": "Grüße"}], "usage": {"input_tokens": 12, "output_tokens": 3}}
CLAUDE_EVENTS: list[Body] = [
    {"type": "message_start", "message": CLAUDE | {"content": [], "stop_reason": None}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Grü"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "ße"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}},
    {"type": "message_stop"},
]
