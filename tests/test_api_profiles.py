"""The ingest endpoint and the profile API, call by call: status, error code, shape, and what is in the tables after."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient

from ingest_pipeline.store.audit_log import load_audit_log
from ingest_pipeline.store.facts import load_facts
from tests.serving import serving

SAID = "I moved to Lisbon last month. I love chess. We are evaluating the enterprise plan."


@pytest.fixture
def client(database_url: str, tmp_path: Path) -> Iterator[TestClient]:
    with serving(database_url, tmp_path) as client:
        yield client


@pytest.fixture
def ana(client: TestClient) -> str:
    """A profile that said SAID."""
    profile: str = client.post("/api/profiles", json={"externalId": "ana"}).json()["profile"]["id"]
    client.post("/api/profiles/ana/ingest", json={"data": SAID, "occurredAt": "2024-06-01T10:00:00Z"})
    return profile


def code(response: Any) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


def test_a_text_is_stored_extracted_and_folded(client: TestClient) -> None:
    client.post("/api/profiles", json={"externalId": "ana"})
    body = {"data": SAID, "source": "survey", "metadata": {"page": 1}, "occurredAt": "2024-06-01T10:00:00+02:00"}
    response = client.post("/api/profiles/ana/ingest", json=body)
    answer = response.json()
    assert response.status_code == 200
    assert (answer["source"], answer["metadata"]) == ("survey", {"page": 1})
    location = next(t for t in answer["extracted"]["traits"] if t["key"] == "location")
    assert (location["value"], location["action"]) == ("Lisbon", "create")
    (evidence,) = location["evidence"]
    assert SAID[evidence["startChar"] : evidence["endChar"]] == evidence["quote"]
    assert evidence["occurredAt"] == "2024-06-01T08:00:00.000Z"
    assert answer["extracted"]["stats"]["traitsCreated"] == len(answer["extracted"]["traits"]) > 0
    assert answer["profile"]["summary"].startswith("Lisbon.")
    assert int(response.headers["X-RateLimit-Remaining"]) < int(response.headers["X-RateLimit-Limit"])
    again = client.post("/api/profiles/ana/ingest", json=body).json()
    assert again["extracted"]["stats"] == {"traitsCreated": 0, "traitsUpdated": 0, "memoriesCreated": 0}
    assert again["documentId"] == answer["documentId"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", "invalid_json"),
        (b"{", "invalid_json"),
        (b"[]", "invalid_json"),
        (b"{}", "invalid_data"),
        (b'{"data": "  "}', "invalid_data"),
        (b'{"data": 1}', "invalid_data"),
        (b'{"data": "x", "source": 1}', "invalid_source"),
        (b'{"data": "x", "metadata": []}', "invalid_metadata"),
        (b'{"data": "x", "extractTraits": "yes"}', "invalid_extract_traits"),
        (b'{"data": "x", "extractMemories": 0}', "invalid_extract_memories"),
        (b'{"data": "x", "occurredAt": "yesterday"}', "invalid_occurred_at"),
        (b'{"data": "x", "occurredAt": 5}', "invalid_occurred_at"),
        (b'{"data": "' + b"x" * 102_401 + b'"}', "data_too_large"),
        ('{"data": "' + "é" * 51_201 + '"}', "data_too_large"),
    ],
)
def test_a_bad_text_is_refused_by_its_own_code(client: TestClient, ana: str, body: Any, expected: str) -> None:
    content = body.encode() if isinstance(body, str) else body
    response = client.post(f"/api/profiles/{ana}/ingest", content=content, headers={"Content-Type": "application/json"})
    assert code(response) == (400, expected)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/ingest", {"data": "x"}), ("GET", "", None), ("PATCH", "", {"summary": "x"}),
        ("DELETE", "", None), ("GET", "/export", None),
        ("GET", "/traits", None), ("PUT", "/traits/location", {"value": "x"}), ("DELETE", "/traits/location", None),
        ("GET", "/memories", None), ("POST", "/memories", {"content": "x", "type": "fact"}),
        ("DELETE", "/memories/00000000", None), ("GET", "/lineage", None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("unknown", ["nobody", "00000000-0000-4000-8000-000000000000"])
def test_an_unknown_profile_is_not_found_by_any_call(
    client: TestClient, method: str, path: str, body: Any, unknown: str
) -> None:
    response = client.request(method, f"/api/profiles/{unknown}{path}", json=body)
    assert code(response) == (404, "profile_not_found")


def test_profiles_are_listed_searched_and_made_once(client: TestClient, ana: str) -> None:
    assert client.post("/api/profiles", json={"externalId": "ana"}).json()["profile"]["id"] == ana
    client.post("/api/profiles", json={"externalId": "bo"})
    listed = client.get("/api/profiles").json()
    assert (listed["total"], {p["externalId"] for p in listed["profiles"]}) == (2, {"ana", "bo"})
    found = client.get("/api/profiles", params={"search": "AN", "limit": 1}).json()
    assert [(p["id"], p["counts"]["documents"]) for p in found["profiles"]] == [(ana, 1)]
    assert client.get("/api/profiles", params={"offset": 2}).json()["profiles"] == []
    for nothing in ("\0", "%", "_", "\\"):
        assert client.get("/api/profiles", params={"search": nothing}).json() == {"profiles": [], "total": 0}
    for params, expected in (
        ({"limit": 0}, "invalid_limit"), ({"limit": 101}, "invalid_limit"), ({"limit": "x"}, "invalid_limit"),
        ({"offset": -1}, "invalid_offset"), ({"offset": "x"}, "invalid_offset"),
    ):  # fmt: skip
        assert code(client.get("/api/profiles", params=params)) == (400, expected)
    for body in ({}, {"externalId": ""}, {"externalId": 5}, {"externalId": "x" * 256}):
        assert code(client.post("/api/profiles", json=body)) == (400, "invalid_external_id")


def test_lists_have_their_usual_lengths(sqlite_url: str, tmp_path: Path) -> None:
    """20 profiles, 50 memories, 10 with a profile: the latest."""
    with serving(sqlite_url, tmp_path) as client:
        for number in range(21):
            client.post("/api/profiles", json={"externalId": f"customer-{number}"})
        home = "/api/profiles/customer-0"
        for number in range(51):
            body = {"content": f"Has bought {number} boats.", "type": "fact"}
            assert client.post(f"{home}/memories", json=body).status_code == 201
        assert (len(client.get("/api/profiles").json()["profiles"]), client.get("/api/profiles").json()["total"]) == (
            20,
            21,
        )
        assert len(client.get(f"{home}/memories").json()["memories"]) == 50
        assert len(client.get(f"{home}/memories", params={"limit": 200}).json()["memories"]) == 51
        recent = [memory["content"] for memory in client.get(home).json()["recentMemories"]]
        assert recent == [f"Has bought {number} boats." for number in range(50, 40, -1)]


@pytest.mark.parametrize("external_id", ["a/b", "/", "a%2Fb", "a?b#c", "100%", "é 名", "ana@acme.com/1"])
def test_ids_may_hold_what_paths_are_made_of(client: TestClient, external_id: str) -> None:
    made = client.post("/api/profiles", json={"externalId": external_id}).json()["profile"]["id"]
    path = f"/api/profiles/{quote(external_id, safe='')}"
    assert client.get(path).json()["profile"]["id"] == made
    assert client.post(f"{path}/ingest", json={"data": "I moved to Porto."}).json()["profile"]["id"] == made
    assert client.put(f"{path}/traits/location", json={"value": "Faro"}).json()["trait"]["profileId"] == made


def test_a_profiles_own_id_as_an_external_id_is_that_profile(client: TestClient, ana: str) -> None:
    """And not another one, which no call would find by it."""
    made = client.post("/api/profiles", json={"externalId": ana.upper()}).json()["profile"]
    assert (made["id"], made["externalId"]) == (ana, "ana")
    other = "123e4567-e89b-12d3-a456-426614174000"
    made = client.post("/api/profiles", json={"externalId": other}).json()["profile"]
    assert made["externalId"] == other != made["id"]
    assert client.get(f"/api/profiles/{other}").json()["profile"]["id"] == made["id"]


def test_people_are_called_and_found_by_the_name_that_is_known_of_them(client: TestClient, ana: str) -> None:
    """Also where no record has one: it was said, or set by hand. In the list they stand in their place."""
    for other in ("aa", "bb"):
        client.post("/api/profiles", json={"externalId": other})
    client.put("/api/profiles/bb/traits/name", json={"value": 'Åsa "Zed" Ek'})
    assert named(client, "ferreira") == []
    client.post("/api/profiles/ana/ingest", json={"data": "My name is Ana Ferreira."})
    assert named(client, "ferreira") == ["Ana Ferreira"]
    assert named(client, "ÅSA") == named(client, '"zed"') == ['Åsa "Zed" Ek']
    assert [name for name in named(client, "") if name] == named(client, "")[:2] == ["Ana Ferreira", 'Åsa "Zed" Ek']
    engine = client.app.state.services.pipeline.engine  # type: ignore[attr-defined]
    assert load_facts(engine, ana).name == "Ana Ferreira"
    client.delete("/api/profiles/ana/traits/name")
    assert named(client, "ferreira") == []
    assert load_facts(engine, ana).name is None


def named(client: TestClient, search: str) -> list[str | None]:
    return [profile["name"] for profile in client.get("/api/profiles", params={"search": search}).json()["profiles"]]


def test_a_profile_comes_with_traits_and_memories_and_what_proves_them(client: TestClient, ana: str) -> None:
    for reference in (ana, "ana"):
        answer = client.get(f"/api/profiles/{reference}").json()
        assert set(answer) == {"profile", "traits", "recentMemories"}
        assert answer["profile"]["id"] == ana
    traits = client.get("/api/profiles/ana/traits").json()["traits"]
    assert traits == answer["traits"]
    assert {"id", "profileId", "key", "category", "valueType", "value", "confidence", "source", "sourceMessageIds",
            "createdAt", "updatedAt"} <= set(traits[0])  # fmt: skip
    memories = client.get("/api/profiles/ana/memories", params={"type": "fact", "limit": 200}).json()["memories"]
    assert memories
    assert {m["type"] for m in memories} == {"fact"}
    assert code(client.get("/api/profiles/ana/memories", params={"type": "x"})) == (400, "invalid_memory_type")
    assert code(client.get("/api/profiles/ana/memories", params={"limit": 201})) == (400, "invalid_limit")
    lineage = client.get("/api/profiles/ana/lineage").json()
    for fact in (*lineage["traits"], *lineage["memories"]):
        assert fact["evidence"]
        assert all(SAID[e["startChar"] : e["endChar"]] == e["quote"] for e in fact["evidence"])
    export = client.get("/api/profiles/ana/export").json()
    assert [message["content"] for message in export["messages"]] == [SAID]


def test_decisions_by_hand(client: TestClient, ana: str) -> None:
    """They are kept, and who made them is known."""
    zoe = {"X-Actor": "Zoë".encode()}
    put = client.put("/api/profiles/ana/traits/location", json={"value": "Porto"}, headers=zoe).json()
    assert (put["trait"]["value"], put["trait"]["source"], put["trait"]["edit"]["by"]) == ("Porto", "manual", "Zoë")
    for body, expected in (
        ({}, "missing_value"), ({"value": {"a": 1}}, "invalid_value_type"),
        ({"value": "x", "confidence": 2}, "invalid_confidence"),
    ):  # fmt: skip
        assert code(client.put("/api/profiles/ana/traits/location", json=body)) == (400, expected)
    assert client.delete("/api/profiles/ana/traits/location").json() == {"success": True}
    assert code(client.delete("/api/profiles/ana/traits/location")) == (404, "trait_not_found")
    added = client.post("/api/profiles/ana/memories", json={"content": "Has a dog.", "type": "fact", "importance": 0.9})
    assert (added.status_code, added.json()["memory"]["importance"]) == (201, 0.9)
    for body, expected in (
        ({"type": "fact"}, "invalid_content"), ({"content": "x", "type": "y"}, "invalid_memory_type"),
        ({"content": "x", "type": "fact", "importance": "much"}, "invalid_importance"),
    ):  # fmt: skip
        assert code(client.post("/api/profiles/ana/memories", json=body)) == (400, expected)
    memory = added.json()["memory"]["id"]
    client.post("/api/profiles", json={"externalId": "bo"})
    assert code(client.delete(f"/api/profiles/bo/memories/{memory}")) == (404, "memory_not_found")
    for no_whole_id in (memory[:8], memory[:-1], "0", "%"):
        assert code(client.delete(f"/api/profiles/ana/memories/{no_whole_id}")) == (404, "memory_not_found")
    assert client.delete(f"/api/profiles/ana/memories/{memory}").json() == {"success": True}
    assert code(client.delete(f"/api/profiles/ana/memories/{memory}")) == (404, "memory_not_found")
    patched = client.patch("/api/profiles/ana", json={"summary": "Our best customer."}).json()["profile"]
    assert patched["summary"] == "Our best customer."
    assert code(client.patch("/api/profiles/ana", json={})) == (400, "missing_summary")
    assert code(client.patch("/api/profiles/ana", json={"summary": 5})) == (400, "invalid_summary")
    client.post("/api/profiles/ana/ingest", json={"data": "I live in Faro now."})
    assert client.get("/api/profiles/ana").json()["profile"]["summary"] == "Our best customer."


def test_a_person_is_erased(client: TestClient, ana: str) -> None:
    """Their texts too; they stay away, and nobody else is touched."""
    client.post("/api/profiles", json={"externalId": "bo"})
    client.post("/api/profiles/bo/ingest", json={"data": "I live in Oslo."})
    before = client.get("/api/profiles/ana/export").json()
    counts = {name: len(before[name]) for name in ("traits", "memories", "messages")}
    assert all(counts.values())
    erased = client.delete("/api/profiles/ana", headers={"X-Actor": "maya"})
    assert (erased.status_code, erased.json()) == (200, {"success": True, "deleted": counts, "clean": True})
    assert code(client.delete(f"/api/profiles/{ana}")) == (404, "profile_not_found")
    assert code(client.get("/api/profiles/ana")) == (404, "profile_not_found")
    assert code(client.post("/api/profiles", json={"externalId": "ana"})) == (400, "profile_erased")
    assert client.get("/api/profiles/bo/traits").json()["traits"]
    engine = client.app.state.services.pipeline.engine  # type: ignore[attr-defined]
    (entry,) = load_audit_log(engine, ana, limit=1)
    assert (entry.action, entry.actor, entry.via) == ("erase", "maya", "api")
