"""The OpenAPI document and the page that shows it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from ingest_pipeline.api.pages.calls import read_operations
from tests.serving import KEY, serving

CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    home: Path = tmp_path_factory.mktemp("document")
    with serving(f"sqlite:///{home / 'profiles.db'}", home) as client:
        yield client


@pytest.fixture(scope="module")
def document(client: TestClient) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/openapi.json").json()
    return found


def test_the_document_is_complete(document: dict[str, Any]) -> None:
    """Every call says what it does, what it answers, and how its errors look; nothing is FastAPI's own."""
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    assert not {"HTTPValidationError", "ValidationError"} & document["components"]["schemas"].keys()
    for path, operations in document["paths"].items():
        for one in operations.values():
            assert one["description"]
            assert ("security" in one) is path.startswith(("/api/", "/v1/"))
            assert "422" not in one["responses"]
            bodies = one.get("requestBody", {}).get("content", {})
            assert all("example" in content or path == CHAT for content in bodies.values())
            for status, response in one["responses"].items():
                schema = response["content"]["application/json"]["schema"]
                assert "$ref" in schema
                assert (schema["$ref"] == "#/components/schemas/Error") is (not status.startswith("2"))


def test_the_page_of_calls_shows_all_of_it(client: TestClient, document: dict[str, Any]) -> None:
    """Behind the viewer's login; nothing comes from elsewhere."""
    assert client.get("/docs", follow_redirects=False).status_code == 303
    login = client.get("/login")
    token = re.search(r'name="token" value="([^"]+)"', login.text)
    assert token
    client.post("/login", data={"token": token[1], "key": KEY, "name": "maya"})
    page = client.get("/docs")
    assert page.status_code == 200
    for operation, _ in read_operations(document):
        assert f"<code>{operation.method} {operation.path}</code>" in page.text
    assert "invalid_trait_schema" in page.text
    assert "extracted.traits[].evidence[].quote" in page.text
    assert not re.search(r'(?:src|href|action)="(?!/|#)', page.text)
    assert "<script>" not in page.text
