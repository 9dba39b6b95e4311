"""The LLM proxy as OpenAI's own client sees it, over real connections that break and servers that are killed."""

import os
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from fastapi import FastAPI
from openai import APIError, OpenAI, RateLimitError
from sqlalchemy import Engine, select

from ingest_pipeline.llm.tables import LlmCallRow
from ingest_pipeline.store.engine import reading
from ingest_pipeline.store.facts import load_facts
from ingest_pipeline.store.lookup import find_profile
from ingest_pipeline.store.tables import DocumentRow
from tests.listening import listening
from tests.provider import Provider
from tests.serving import KEY
from tests.upstream import CHUNKS, Upstream

T = TypeVar("T")

MESSAGES: Any = [{"role": "user", "content": "I moved to Lisbon last month."}]
TOOLS: Any = [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}]

STREAM = {"model": "gpt-x", "messages": MESSAGES, "user": "ana", "stream": True}
AUTHORISED = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@pytest.fixture
def proxy(database_url: str, tmp_path: Path, upstream: Upstream) -> Iterator[tuple[str, FastAPI]]:
    with listening(database_url, tmp_path, upstream_base_url=upstream.base_url, upstream_key="k") as proxy:
        yield proxy


def clients(proxy_url: str, upstream: Upstream) -> tuple[OpenAI, OpenAI]:
    """Through the proxy, and directly."""
    through = OpenAI(base_url=f"{proxy_url}/v1", api_key=KEY, max_retries=0)
    return through, OpenAI(base_url=upstream.base_url, api_key="k", max_retries=0)


def traits(app: FastAPI) -> dict[str, Any]:
    assert app.state.proxy.background.drain(20)
    engine: Engine = app.state.services.pipeline.engine
    return {fact.key: fact.value for fact in load_facts(engine, find_profile(engine, "ana")).traits}


def test_answers_are_those_of_the_direct_call(proxy: tuple[str, FastAPI], upstream: Upstream) -> None:
    """Streaming and not, with tools, several choices and usage; what is known is in front, what is said is learned."""
    url, app = proxy
    through, direct = clients(url, upstream)
    asked: dict[str, Any] = {"model": "gpt-x", "messages": MESSAGES, "user": "ana", "tools": TOOLS, "n": 2}
    whole = through.chat.completions.create(**asked)
    assert whole == direct.chat.completions.create(**asked)
    assert traits(app)["location"] == "Lisbon"
    streaming = asked | {"stream": True, "stream_options": {"include_usage": True}}
    chunks = list(through.chat.completions.create(**streaming))
    assert "based in Lisbon" in upstream.messages[0]["content"]
    assert chunks == list(direct.chat.completions.create(**streaming))
    assert {model.id for model in through.models.list()} == set()


def test_errors_are_those_of_its_kind(proxy: tuple[str, FastAPI], upstream: Upstream) -> None:
    through, _ = clients(proxy[0], upstream)
    upstream.refuse(429, {"message": "slow down", "code": "rate_limit_exceeded"}, Retry_After="7")
    with pytest.raises(RateLimitError, match="slow down") as refused:
        through.chat.completions.create(model="gpt-x", messages=MESSAGES, user="ana")
    assert refused.value.response.headers["Retry-After"] == "7"
    upstream.refusal, upstream.breaks_off = None, True
    with pytest.raises(APIError, match="broke off"):
        list(through.chat.completions.create(model="gpt-x", messages=MESSAGES, user="ana", stream=True))


def test_a_client_that_goes_away_loses_nothing(proxy: tuple[str, FastAPI], upstream: Upstream) -> None:
    """What was said is learned, and what the upstream has sent by then is accounted."""
    url, app = proxy
    upstream.hold = True
    with httpx.stream("POST", f"{url}/v1/chat/completions", json=STREAM, headers=AUTHORISED) as response:
        assert next(response.iter_lines()).startswith("data: ")
        assert upstream.waiting.wait(20)
    engine: Engine = app.state.services.pipeline.engine
    ended = until(lambda: [call for call in rows(engine, LlmCallRow) if call.outcome != "pending"])
    assert [(call.outcome, call.output_tokens) for call in ended] == [("ok", len(CHUNKS) - 1)]
    # Nobody waited for the storing, so it may come after the accounting.
    assert until(lambda: traits(app).get("location")) == "Lisbon"
    upstream.go.set()


def test_a_server_that_is_killed_loses_nothing(tmp_path: Path, upstream: Upstream) -> None:
    """The text was stored before the answer ended; the server that starts next extracts it.

    The first one cannot: its budget is spent, and the caller pays for the answer.
    """
    database_url = f"sqlite:///{tmp_path / 'profiles.db'}"
    with Provider() as provider:
        model = {"model": "openai/extract", "api_base": provider.base_url, "llm_api_key": "k"}
        budget = {"budget_usd": "0.000001", "prices": '{"openai/extract": {"input": 1, "output": 1}}'}
        settings = {"home": str(tmp_path), "upstream_base_url": upstream.base_url, "api_key": KEY} | model
        server, url = serve(settings | budget)
        answer = until(lambda: posted(f"{url}/v1/chat/completions"))
        assert answer.endswith("data: [DONE]\n\n")
        server.kill()
        server.communicate()
        with closing(sqlite3.connect(tmp_path / "profiles.db")) as connection:
            assert list(connection.execute("SELECT state FROM documents")) == [("pending",)]
        with listening(database_url, tmp_path, upstream_base_url=upstream.base_url, **model) as (_, app):
            assert app.state.proxy.background.drain(30)
            engine = app.state.services.pipeline.engine
            assert [document.state for document in rows(engine, DocumentRow)] == ["done"]
            assert load_facts(engine, find_profile(engine, "ana")).memories


def serve(settings: dict[str, Any]) -> tuple["subprocess.Popen[str]", str]:
    """`ingest serve` as a process, and its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("INGEST_")}
    environment |= {f"INGEST_{name.upper()}": value for name, value in settings.items()}
    ingest = Path(sys.executable).with_name("ingest")
    server = subprocess.Popen(
        [ingest, "serve", "--port", str(port)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    return server, f"http://127.0.0.1:{port}"


def posted(url: str) -> str:
    """The answer; nothing while nobody listens."""
    try:
        return (
            httpx.post(url, json=STREAM, headers=AUTHORISED | {"X-Upstream-Key": "k"}, timeout=30)
            .raise_for_status()
            .text
        )
    except httpx.ConnectError:
        return ""


def rows(engine: Engine, table: Any) -> list[Any]:
    with reading(engine) as connection:
        return list(connection.execute(select(table.__table__)))


def until(look: Callable[[], T]) -> T:
    """What it finds, once it finds something."""
    for _ in range(2_400):
        if found := look():
            return found
        threading.Event().wait(0.05)
    raise AssertionError("nothing came")
