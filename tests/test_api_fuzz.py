"""Requests that nobody thought of, made from the OpenAPI document: none ends in a 500, each answer is as described."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tests.serving import serving
from tests.upstream import Upstream

SAID = "I moved to Lisbon last month. I love chess. We are evaluating the enterprise plan."


@schemathesis.serializer("application/jsonl")
def as_it_is(_context: Any, value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    home = tmp_path_factory.mktemp("fuzz")
    with Upstream() as upstream:
        more = {"api_rpm": 1_000_000, "proxy_rpm": 1_000_000, "upstream_base_url": upstream.base_url}
        with serving(f"sqlite:///{home / 'profiles.db'}", home, upstream_key="configured", **more) as client:
            client.post("/api/profiles", json={"externalId": "ana"})
            client.post("/api/profiles/ana/ingest", json={"data": SAID})
            yield client


@pytest.fixture(scope="module")
def document(client: TestClient) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/openapi.json").json()
    return found


EXAMPLES = settings(
    max_examples=30,
    deadline=None,
    derandomize=True,  # a build fails for its own changes only
    database=None,
    suppress_health_check=list(HealthCheck),
)


def test_no_request_ends_in_a_500(client: TestClient, document: dict[str, Any]) -> None:
    """Half of those about a profile are about one that there is."""
    schema = schemathesis.openapi.from_dict(document)
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) >= 20
    seen: Counter[int] = Counter()
    for operation in operations:
        # As described, and not as described: where nothing is there to be wrong, nothing can be.
        wrong = operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE)
        can_be_wrong = operation.body or operation.query or operation.path_parameters

        @EXAMPLES
        @given(operation.as_strategy() | wrong if can_be_wrong else operation.as_strategy(), st.booleans())
        def check(case: Any, is_known: bool) -> None:
            if is_known and "profile" in case.path_parameters and case.method != "DELETE":
                case.path_parameters["profile"] = "ana"
            response = send(client, case)
            seen[response.status_code] += 1
            note(f"{case.method} {case.path}: {response.status_code} {response.text[:1_000]}")
            check_answer(document, case.operation.definition.raw["responses"], response)

        check()
    assert min(seen[status] for status in (200, 400, 404)) >= 50, seen


def send(client: TestClient, case: Any) -> Any:
    prepared = requests.Request(**case.as_transport_kwargs(base_url="http://localhost")).prepare()
    headers = {**prepared.headers, "Authorization": client.headers["Authorization"]}
    return client.request(prepared.method or "", prepared.url or "", headers=headers, content=prepared.body)


def check_answer(document: dict[str, Any], described: dict[str, Any], response: Any) -> None:
    assert response.status_code < 500
    shape = described.get(str(response.status_code))
    assert shape, "this status is not described"
    if not response.headers["Content-Type"].startswith("text/event-stream"):
        expected = shape["content"]["application/json"]["schema"] | {"components": document["components"]}
        Draft202012Validator(expected).validate(response.json())
