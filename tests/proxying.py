"""What tests of the LLM proxy over HTTP share: a chat, a server in front of a loopback upstream, what it stored."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient
from sqlalchemy import Engine, select

from ingest_pipeline.store.engine import reading
from ingest_pipeline.store.facts import load_facts
from ingest_pipeline.store.lookup import find_profile
from ingest_pipeline.store.tables import DocumentRow
from tests.serving import serving
from tests.upstream import Body, Upstream

SAID = "I moved to Lisbon last month."
CHAT: Body = {"model": "gpt-x", "messages": [{"role": "user", "content": SAID}], "user": "ana"}


@contextmanager
def proxying(database_url: str, home: Path, upstream: Upstream) -> Iterator[TestClient]:
    """A server that passes chats on with its own key."""
    with serving(database_url, home, upstream_base_url=upstream.base_url, upstream_key="configured") as client:
        yield client


def chat(client: TestClient, headers: dict[str, str] | None = None, **changes: Any) -> Any:
    """The response to ``CHAT`` with changes, after what follows it."""
    response = client.post("/v1/chat/completions", json=CHAT | changes, headers=headers)
    assert client.app.state.proxy.background.drain(20)  # type: ignore[attr-defined]
    return response


def engine_of(client: TestClient) -> Engine:
    engine: Engine = client.app.state.services.pipeline.engine  # type: ignore[attr-defined]
    return engine


def stored(client: TestClient) -> list[Any]:
    with reading(engine_of(client)) as connection:
        return list(connection.execute(select(DocumentRow.__table__).order_by(DocumentRow.occurred_at)))


def traits(client: TestClient, reference: str = "ana") -> dict[str, Any]:
    engine = engine_of(client)
    return {fact.key: fact.value for fact in load_facts(engine, find_profile(engine, reference)).traits}
