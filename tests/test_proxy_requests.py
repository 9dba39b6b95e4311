"""Chat requests over HTTP: which are refused, what they may cost, and how many there may be."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from ingest_pipeline.llm.tables import LlmCallRow
from ingest_pipeline.store.engine import reading
from tests.proxying import CHAT, chat, engine_of, proxying, stored
from tests.serving import KEY, serving
from tests.upstream import USAGE, Upstream

USER = {"role": "user", "content": "x"}


@pytest.fixture
def client(sqlite_url: str, tmp_path: Path, upstream: Upstream) -> Iterator[TestClient]:
    """For what has nothing to do with the kind of database."""
    with proxying(sqlite_url, tmp_path, upstream) as client:
        yield client


@pytest.fixture
def storing(database_url: str, tmp_path: Path, upstream: Upstream) -> Iterator[TestClient]:
    with proxying(database_url, tmp_path, upstream) as client:
        yield client


BAD: list[tuple[Any, str, str | None]] = [
    (b"{", "invalid_json", None),
    (b"[]", "invalid_json", None),
    (b"", "invalid_json", None),
    (b'{"messages": "\xff"}', "invalid_json", None),
    (b"[" * 100_000, "invalid_json", None),
    (b'{"model": "m", "messages": [{"role": "user", "content": "\\ud800"}], "user": "u"}', "invalid_json", None),
    (b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "user": "u", "n": 1e999}', "invalid_json", None),
    ({"messages": None}, "missing_messages", "messages"),
    ({"messages": []}, "missing_messages", "messages"),
    ({"messages": "hello"}, "missing_messages", "messages"),
    ({"model": None}, "missing_model", "model"),
    ({"model": ""}, "missing_model", "model"),
    ({"model": 4}, "missing_model", "model"),
    ({"model": "huggingface/https://internal.example"}, "missing_model", "model"),
    ({"model": "../../internal"}, "missing_model", "model"),
    ({"user": None}, "missing_user_id", "user"),
    ({"user": " "}, "missing_user_id", "user"),
    ({"user": None, "metadata": {"profile_id": 5}}, "missing_user_id", "user"),
    ({"user": "a\u0001b"}, "invalid_external_id", "externalId"),
    ({"user": "u" * 256}, "invalid_external_id", "externalId"),
    ({"metadata": [1]}, "invalid_metadata", "metadata"),
    ({"metadata": {"a": "x" * 16_384}}, "invalid_metadata", "metadata"),
    ({"stream": "yes"}, "invalid_stream", "stream"),
    ({"messages": [USER] * 101}, "too_many_messages", "messages"),
    ({"messages": [USER, {"role": "user", "content": "é" * 50_001}]}, "message_too_large", "messages[1]"),
    ({"messages": [{"role": "user", "content": "x" * 99_999}] * 11}, "total_size_too_large", "messages"),
    ({"messages": ["hello"]}, "invalid_message_format", "messages[0]"),
    ({"messages": [USER, {"content": "x"}]}, "invalid_message_format", "messages[1]"),
    ({"messages": [{"role": ["user"], "content": "x"}]}, "invalid_message_format", "messages[0]"),
    ({"messages": [{"role": "boss", "content": "x"}]}, "invalid_message_format", "messages[0]"),
    ({"messages": [{"role": "user"}]}, "invalid_message_format", "messages[0]"),
    ({"messages": [{"role": "user", "content": {"text": "x"}}]}, "invalid_message_format", "messages[0]"),
    ({"messages": [{"role": "user", "content": ["x"]}]}, "invalid_message_format", "messages[0]"),
    ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "invalid_message_format", "messages[0]"),
    ({"getprofile": []}, "invalid_getprofile_options", "getprofile"),
    ({"getprofile": {"skipInjection": "no"}}, "invalid_getprofile_options", "getprofile"),
    ({"getprofile": {"skipExtraction": 1}}, "invalid_getprofile_options", "getprofile"),
    ({"getprofile": {"traits": []}}, "invalid_getprofile_options", "getprofile"),
    ({"getprofile": {"traits": [{"key": "x"}]}}, "invalid_getprofile_options", "getprofile"),
]


def test_bad_requests_are_told_and_go_nowhere(client: TestClient, upstream: Upstream) -> None:
    for body, code, param in BAD:
        content = body if isinstance(body, bytes) else json.dumps(CHAT | body).encode()
        response = client.post("/v1/chat/completions", content=content)
        error = response.json()["error"]
        assert (response.status_code, error["code"], error.get("param")) == (400, code, param), body
        assert error["type"] == "invalid_request_error"
    assert upstream.asked == []
    assert stored(client) == []


def test_what_is_just_small_enough_passes(client: TestClient) -> None:
    messages = [{"role": "user", "content": "x" * 100_000}] * 10
    assert chat(client, messages=messages, getprofile={"skipExtraction": True}).status_code == 200
    assert chat(client, messages=[USER] * 100, getprofile={"skipExtraction": True}).status_code == 200


def test_calls_with_the_configured_key_are_accounted(storing: TestClient, upstream: Upstream) -> None:
    """Those with the caller's own are not."""
    chat(storing)
    chat(storing, stream=True, stream_options={"include_usage": True})
    upstream.refuse(500, {"message": "down"})
    chat(storing)
    chat(storing, {"X-Upstream-Key": "theirs"})
    with reading(engine_of(storing)) as connection:
        calls = list(connection.execute(select(LlmCallRow.__table__).order_by(LlmCallRow.created_at)))
    assert [(call.purpose, call.outcome) for call in calls] == [("proxy", "ok")] * 2 + [("proxy", "server_error")]
    used = {(call.input_tokens, call.cached_tokens, call.output_tokens) for call in calls[:2]}
    assert used == {(USAGE["prompt_tokens"], 20, USAGE["completion_tokens"])}


def test_a_spent_budget_ends_it_before_the_call(sqlite_url: str, tmp_path: Path, upstream: Upstream) -> None:
    prices = {"openai/gpt-x": {"input": 1000, "output": 1000}}
    settings = {"upstream_base_url": upstream.base_url, "budget_usd": 0.2, "prices": prices}
    with serving(sqlite_url, tmp_path, **settings) as client:
        response = chat(client, max_tokens=1_000)
        assert (response.status_code, response.json()["error"]["code"]) == (503, "budget_exhausted")
        assert response.headers["Retry-After"]
        assert chat(client, {"X-Upstream-Key": "theirs"}, max_tokens=1_000).status_code == 200
        response = chat(client, model="unpriced")
        assert (response.status_code, response.json()["error"]["code"]) == (500, "configuration_error")
    assert len(upstream.asked) == 1


def test_it_has_an_allowance_of_its_own(sqlite_url: str, tmp_path: Path, upstream: Upstream) -> None:
    with serving(sqlite_url, tmp_path, upstream_base_url=upstream.base_url, proxy_rpm=2, api_rpm=50) as client:
        assert [chat(client).headers["X-RateLimit-Remaining"] for _ in range(2)] == ["1", "0"]
        response = chat(client)
        assert (response.status_code, response.json()["error"]["code"]) == (429, "rate_limit_exceeded")
        assert 1 <= int(response.headers["Retry-After"]) <= 30
        assert client.get("/api/profiles").headers["X-RateLimit-Limit"] == "50"


def test_the_models_that_are_offered(sqlite_url: str, tmp_path: Path, upstream: Upstream, client: TestClient) -> None:
    assert client.get("/v1/models").json() == {"object": "list", "data": []}
    with serving(sqlite_url, tmp_path, upstream_base_url=upstream.base_url, proxy_models="gpt-x, gpt-y") as some:
        listed = some.get("/v1/models").json()["data"]
        assert [(model["id"], model["object"]) for model in listed] == [("gpt-x", "model"), ("gpt-y", "model")]
        assert chat(some).status_code == 200
        response = chat(some, model="gpt-z")
        assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")


def test_the_key_is_asked_for(client: TestClient) -> None:
    response = client.post("/v1/chat/completions", json=CHAT, headers={"Authorization": f"Bearer {KEY}x"})
    assert (response.status_code, response.json()["error"]["code"]) == (401, "invalid_api_key")
