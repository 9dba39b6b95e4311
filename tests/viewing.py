"""What tests of the pages share: a login, forms with their token, what is in the tables after."""

import re
from typing import Any

from fastapi.testclient import TestClient
from sqlalchemy import Engine

from ingest_pipeline.store.facts import ProfileFacts, load_facts
from tests.serving import KEY

SAID = "I moved to Lisbon last month. I love chess. I prefer email.\n\n<script>document.title = 'hacked'</script>"
OTHER = "11111111-1111-4111-8111-111111111111"
"""Nobody's id."""


def engine_of(client: TestClient) -> Engine:
    engine: Engine = client.app.state.services.pipeline.engine  # type: ignore[attr-defined]
    return engine


def ingest(client: TestClient, who: str, *texts: str, at: str = "2024-06-01T10:00:00Z") -> str:
    """The profile's id."""
    profile: str = client.post("/api/profiles", json={"externalId": who}).json()["profile"]["id"]
    for text in texts:
        body = {"data": text, "occurredAt": at}
        assert client.post(f"/api/profiles/{who}/ingest", json=body).status_code == 200
    return profile


def log_in(client: TestClient, key: str = KEY, goal: str = "", name: str = "") -> Any:
    token = token_of(client.get("/login").text)
    form = {"token": token, "key": key, "next": goal, "name": name}
    return client.post("/login", data=form, follow_redirects=False)


def token_of(page: str) -> str:
    found = re.search(r'name="token" value="([0-9a-f]{64})"', page)
    assert found
    return found[1]


def send(client: TestClient, path: str, **form: Any) -> Any:
    """A form of the pages, with its token; the page that follows."""
    return client.post(path, data={"token": token_of(client.get("/login").text)} | form)


def facts_of(client: TestClient, profile: str) -> ProfileFacts:
    return load_facts(engine_of(client), profile)


def value_of(client: TestClient, profile: str, key: str) -> Any:
    return {fact.key: fact.value for fact in facts_of(client, profile).traits}.get(key)
