"""The pages' rules: what is escaped, what is recorded, what each form does, what a page costs."""

import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import event

from ingest_pipeline.api.pages.latest import Found, Latest
from ingest_pipeline.store.audit_log import load_audit_log
from ingest_pipeline.store.lookup import find_profile
from tests.builders import contact, record, save, sender
from tests.serving import serving
from tests.viewing import OTHER, SAID, engine_of, facts_of, ingest, log_in, send, token_of, value_of


@pytest.fixture
def client(database_url: str, tmp_path: Path) -> Iterator[TestClient]:
    """Logged in as Kim; the key is sent with the API's calls."""
    with serving(database_url, tmp_path) as client:
        log_in(client, name="Kim")
        yield client


@pytest.fixture
def small(tmp_path: Path) -> Iterator[TestClient]:
    """Logged in as Kim, on SQLite."""
    with serving(f"sqlite:///{tmp_path / 'p.db'}", tmp_path) as client:
        log_in(client, name="Kim")
        yield client


def test_text_of_documents_is_text(client: TestClient) -> None:
    """On every page that shows it, and nothing on a page is inline, which the policy would not run."""
    profile = ingest(client, "<b>ana", SAID)
    document = facts_of(client, profile).traits[0].proofs[0].document_id
    paths = [
        "/profiles", "/profiles?q=%3Cb%3E", f"/profiles/{profile}", f"/profiles/{profile}/facts/location",
        f"/profiles/{profile}/facts/timezone", f"/profiles/{profile}/documents",
        f"/profiles/{profile}/documents/{document}", f"/profiles/{profile}/merge", f"/profiles/{profile}/split",
        f"/profiles/{profile}/forget", "/duplicates", "/status", "/login", "/nowhere",
    ]  # fmt: skip
    for path in paths:
        response = client.get(path)
        assert response.headers["Content-Type"].startswith("text/html"), path
        assert "document.title" not in response.text or "&lt;script&gt;document.title" in response.text, path
        assert not re.search(r"<script(?! src=\"/static/)", response.text), path
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<b>ana|javascript:", response.text), path
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert response.headers["Cache-Control"] == "no-store"
    assert "&lt;script&gt;" in client.get(f"/profiles/{profile}/documents/{document}").text


def test_the_quote_is_marked_in_its_text(client: TestClient) -> None:
    profile = ingest(client, "ana", "👩‍👩‍👧 Grüße! I moved to Lisbon last month. Bis bald 🇩🇪")
    page = unescape(client.get(f"/profiles/{profile}/facts/location").text)
    assert re.findall(r"<mark>(.*?)</mark>", page) == ["I moved to Lisbon last month."]
    assert "👩‍👩‍👧 Grüße! <mark>" in page
    assert "in their own words" in page


def test_what_is_read_and_decided_is_recorded_with_the_name_given_at_login(client: TestClient) -> None:
    profile = ingest(client, "ana", SAID)
    document = facts_of(client, profile).traits[0].proofs[0].document_id
    for path in ("", "/facts/location", f"/documents/{document}", "/documents", "/merge", "/split", "/forget"):
        assert client.get(f"/profiles/{profile}{path}").status_code == 200
    send(client, f"/profiles/{profile}/facts/location/confirm")
    entries = load_audit_log(engine_of(client), profile)
    mine = [(entry.actor, entry.action) for entry in reversed(entries) if entry.via == "viewer"]
    assert mine[:8] == [
        ("Kim", action) for action in ("show", "why", "document", "show", "show", "show", "show", "confirm")
    ]


def test_paths_take_ids_only(small: TestClient) -> None:
    """Addresses and names are found by search; they do not belong into a path."""
    profile = ingest(small, "ana", SAID)
    assert small.get(f"/profiles/{profile}").status_code == 200
    for path in ("/profiles/ana", f"/profiles/{OTHER}", f"/profiles/{profile[:8]}", "/profiles/%00"):
        response = small.get(path)
        assert (response.status_code, "No profile has this id" in response.text) == (404, True)
    assert small.get(f"/profiles/{profile}/facts/nothing").status_code == 404
    assert small.get("/static/../sessions.py").status_code == 404
    assert small.get("/static/%2e%2e%2fsessions.py").status_code == 404


ODD = ["\x00", "\ud800", "a" * 3_000, "{{ 7 * 7 }}", "'%/../[\u202e😀"]


def test_nothing_that_can_be_typed_breaks_a_page(client: TestClient) -> None:
    """Into the address or a form: what makes no sense is refused in words."""
    profile = ingest(client, "ana", SAID)
    home = f"/profiles/{profile}"
    memory = facts_of(client, profile).memories[0].id
    forms = [
        (f"{home}/merge", "other"), (f"{home}/split", "leaving"), (f"{home}/unmerge", "merge"),
        (f"{home}/summary", "summary"), (f"{home}/memories", "content"), (f"{home}/memories", "type"),
        (f"{home}/memories", "importance"), (f"{home}/facts/{memory}/revise", "content"),
        (f"{home}/facts/location/set", "value"), (f"{home}/facts/interests/set", "value"),
        (f"{home}/facts/location/confirm", "value"), (f"{home}/facts/location/reject", "value"),
        (f"{home}/facts/location/unreject", "value"), (f"{home}/forget", "sure"), ("/login", "name"),
    ]  # fmt: skip
    for text in ODD:
        typed = quote(text, safe="", errors="surrogatepass")
        for path in (
            "/profiles?q={}",
            "/profiles/{}",
            f"{home}/facts/{{}}",
            f"{home}/documents/{{}}",
            "/login?next={}",
        ):
            assert client.get(path.format(typed)).status_code in (200, 400, 404), (path, text)
        token = token_of(client.get("/login").text)
        for path, field in forms:
            body = f"token={token}&{field}={typed}"
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            response = client.post(path, content=body, headers=headers)
            assert response.status_code in (200, 400, 403, 404), (path, field, text)
            assert "49" not in re.findall(r"<h1.*?</h1>", response.text, re.S)[0], "a template in a text is text"


def test_a_document_is_shown_on_its_own_profile_only(small: TestClient) -> None:
    ana, bo = ingest(small, "ana", SAID), ingest(small, "bo", "I live in Oslo.")
    document = facts_of(small, bo).traits[0].proofs[0].document_id
    assert small.get(f"/profiles/{bo}/documents/{document}").status_code == 200
    assert small.get(f"/profiles/{ana}/documents/{document}").status_code == 404


def test_traits_are_decided_by_hand(client: TestClient) -> None:
    profile = ingest(client, "ana", SAID)
    home = f"/profiles/{profile}"

    assert "confirmed by Kim" in send(client, f"{home}/facts/location/confirm", back="fact").text
    page = send(client, f"{home}/facts/location/set", value="Porto").text
    assert "saved" in page
    assert value_of(client, profile, "location") == "Porto"
    send(client, f"{home}/facts/location/clear", back="fact")
    assert value_of(client, profile, "location") == "Lisbon"

    page = send(client, f"{home}/facts/location/reject").text
    assert "It does not come back" in page
    assert f'action="{home}/facts/location/unreject"' in page
    assert value_of(client, profile, "location") is None
    send(client, f"{home}/facts/location/unreject")
    assert value_of(client, profile, "location") == "Lisbon"

    send(client, f"{home}/facts/interests/set", value="chess\r\n\r\n jazz \r\n")
    assert value_of(client, profile, "interests") == ["chess", "jazz"]
    send(client, f"{home}/facts/interests/reject", value="jazz")
    assert value_of(client, profile, "interests") == ["chess"]


def test_traits_that_came_with_a_text_are_decided_as_any(small: TestClient) -> None:
    seat = {"key": "seat", "label": "Seat", "valueType": "enum", "enumValues": ["window", "aisle"], "description": "x"}
    profile = ingest(small, "ana")
    small.post(f"/api/profiles/{profile}/ingest", json={"data": SAID, "traits": [seat]})
    home = f"/profiles/{profile}"
    assert "<option>aisle</option>" in small.get(f"{home}/facts/seat").text
    assert "Seat saved" in send(small, f"{home}/facts/seat/set", value="aisle").text
    assert value_of(small, profile, "seat") == "aisle"
    assert "Seat rejected" in send(small, f"{home}/facts/seat/reject").text


def test_what_is_refused_is_said_where_it_was_tried(small: TestClient) -> None:
    profile = ingest(small, "ana", SAID)
    home = f"/profiles/{profile}"
    response = send(small, f"{home}/facts/contact_preference/set", value="pigeon")
    assert response.url.path == f"{home}/facts/contact_preference"
    assert 'role="alert"' in response.text
    assert "Contact preference takes one of" in response.text
    assert 'role="alert"' in send(small, f"{home}/memories", content="x", importance="much").text
    assert 'role="alert"' in send(small, f"{home}/summary", summary=" ").text
    assert 'role="alert"' not in small.get(home).text
    assert send(small, f"/profiles/{OTHER}/facts/location/confirm").status_code == 404


def test_a_conflict_is_decided_by_picking_one(client: TestClient) -> None:
    profile = ingest(client, "ana", "I live in Oslo.", "I live in Bergen.")
    home = f"/profiles/{profile}"
    page = client.get(home).text
    assert "To decide" in page
    values = set(re.findall(r'name="value" value="(\w+)"', page))
    assert values == {"Oslo", "Bergen"}
    other = (values - {value_of(client, profile, "location")}).pop()
    assert "To decide" not in send(client, f"{home}/facts/location/confirm", value=other).text
    assert value_of(client, profile, "location") == other


def test_memories_are_written_revised_and_rejected(client: TestClient) -> None:
    profile = ingest(client, "ana", SAID)
    home = f"/profiles/{profile}"
    page = send(client, f"{home}/memories", content="Is on leave in May.", type="event", importance="0.9").text
    assert "Is on leave in May." in page
    memory = next(m for m in facts_of(client, profile).memories if m.value == "Is on leave in May.")
    assert (memory.key, memory.importance) == ("event", 0.9)
    response = send(client, f"{home}/facts/{memory.id}/revise", content="Is on leave in June.", type="event")
    assert "Is on leave in June." in response.text
    page = send(client, f"{home}/facts/{memory.id}/reject").text
    assert "Is on leave in June." not in [m.value for m in facts_of(client, profile).memories]
    assert "Take back" in page
    undo = re.search(r'action="([^"]+/unreject)"', page)
    assert undo
    send(client, undo[1])
    assert "Is on leave in June." in [m.value for m in facts_of(client, profile).memories]


def test_the_summary_is_written_and_made_again(small: TestClient) -> None:
    profile = ingest(small, "ana", SAID)
    made = facts_of(small, profile).summary
    send(small, f"/profiles/{profile}/summary", summary="Our oldest\r\ncustomer.")
    assert facts_of(small, profile).summary == "Our oldest\ncustomer."
    send(small, f"/profiles/{profile}/summary/clear")
    assert facts_of(small, profile).summary == made


def test_profiles_are_merged_and_the_merge_is_taken_back(client: TestClient) -> None:
    ana, bo = ingest(client, "ana", SAID), ingest(client, "bo", "I live in Oslo.")
    page = send(client, f"/profiles/{ana}/merge", other="bo").text
    assert "Becomes part of it" in page
    assert facts_of(client, bo).traits
    response = send(client, f"/profiles/{ana}/merge", other="bo", sure="yes")
    assert response.url.path == f"/profiles/{ana}"
    assert client.get(f"/profiles/{bo}").url.path == f"/profiles/{ana}"
    page = client.get(f"/profiles/{ana}/split").text
    merge = re.search(r'name="merge" value="([^"]+)"', page)
    assert merge
    assert "look again" in send(client, f"/profiles/{ana}/unmerge", merge=OTHER).text
    send(client, f"/profiles/{ana}/unmerge", merge=merge[1])
    assert client.get(f"/profiles/{bo}").url.path == f"/profiles/{bo}"
    assert send(client, f"/profiles/{ana}/merge", other="nobody").status_code == 400


def test_a_profile_is_split_by_its_identifiers(client: TestClient) -> None:
    engine = engine_of(client)
    save(engine, record(contact(1, "a@x.example", "b@x.example")), record(sender("b@x.example"), native_id="2"))
    both = find_profile(engine, "a@x.example")
    assert send(client, f"/profiles/{both}/split").status_code == 400
    assert "no identifier of the profile" in send(client, f"/profiles/{both}/split", leaving="x@y.example").text
    assert 'value="b@x.example"' in client.get(f"/profiles/{both}/split").text
    assert "A new profile gets" in send(client, f"/profiles/{both}/split", leaving="b@x.example").text
    assert find_profile(engine, "b@x.example") == both
    response = send(client, f"/profiles/{both}/split", leaving="b@x.example", sure="yes")
    apart = find_profile(engine, "b@x.example")
    assert apart != both
    assert response.url.path == f"/profiles/{apart}"


def test_a_person_is_forgotten_after_a_yes(client: TestClient) -> None:
    profile = ingest(client, "ana", SAID)
    home = f"/profiles/{profile}"
    assert "It cannot be undone" in client.get(f"{home}/forget").text
    assert send(client, f"{home}/forget").status_code == 400
    assert facts_of(client, profile).traits
    response = send(client, f"{home}/forget", sure="yes")
    assert "Erased" in response.text
    assert client.get(home).status_code == 404
    entries = load_audit_log(engine_of(client), profile)
    assert [(e.actor, e.via) for e in entries if e.action == "erase"] == [("Kim", "viewer")]


def test_people_are_found_and_listed_in_pages(client: TestClient) -> None:
    for number in range(30):
        client.post("/api/profiles", json={"externalId": f"person-{number:02}"})
    first, second = client.get("/profiles").text, client.get("/profiles?page=2").text
    assert "1–25 of 30" in first
    assert "26–30 of 30" in second
    assert 'href="/profiles?page=2"' in first
    found = client.get("/profiles?q=person-07").text
    assert found.count('href="/profiles/') == 1
    assert "Nobody matches" in client.get("/profiles?q=nobody").text
    assert client.get("/profiles?page=0").status_code == 400


def queries(client: TestClient, path: str) -> int:
    """How many a page takes."""
    engine = engine_of(client)
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        seen.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    assert client.get(path).status_code == 200
    event.remove(engine, "before_cursor_execute", note)
    return len(seen)


def test_more_rows_take_no_more_queries(small: TestClient) -> None:
    """Of people, of facts, of evidence, of documents."""
    little = ingest(small, "bo", "I live in Lisbon.")
    alone = queries(small, "/profiles")
    texts = [f"I live in Lisbon. I love chess. I prefer email. I manage a team of {n} people." for n in range(2, 9)]
    much = ingest(small, "ana", *texts)
    document = {who: facts_of(small, who).traits[0].proofs[0].document_id for who in (little, much)}
    assert queries(small, "/profiles") == alone
    for part in ("", "/facts/location", "/documents", "/documents/{}"):
        few, many = (queries(small, f"/profiles/{who}{part.format(document[who])}") for who in (little, much))
        assert few == many, part


def test_the_status_is_there_before_everything_is_counted(small: TestClient) -> None:
    """Then with the numbers; old ones say of when they are."""
    ingest(small, "ana", SAID)
    counts, go = small.app.state.counts, threading.Event()  # type: ignore[attr-defined]
    counted, still = counts.all.load().value, counts.open.load().value

    def slowly(answer: Any) -> Any:
        return go.wait(60) and answer

    counts.all, counts.open = Latest(partial(slowly, counted), wait_s=0.0), Latest(partial(slowly, still), wait_s=0.0)
    waiting = small.get("/status").text
    assert "It is being counted" in waiting
    assert "How many documents are open is being counted" in small.get("/status/progress").text
    assert "What was read" not in waiting
    assert "Spent per day" in waiting
    go.set()
    while counts.all.load() is None or counts.open.load() is None:
        threading.Event().wait(0.01)
    page = small.get("/status").text
    assert "<b>1</b> people" in page
    assert "Nothing is pending, nothing has failed." in page
    assert "Counted" not in page
    counts.all = SimpleNamespace(load=lambda: Found(counted, datetime(2024, 5, 1, tzinfo=UTC)))
    assert re.search(r"Counted\s.*2024", small.get("/status").text)


def test_records_and_runs_are_linked_where_their_address_is_known(tmp_path: Path) -> None:
    settings = {"record_urls": '{"api": "https://crm.example/{id}"}', "dagster_url": "https://dagster.example/"}
    with serving(f"sqlite:///{tmp_path / 'p.db'}", tmp_path, **settings) as client:
        log_in(client)
        profile = ingest(client, "ana", SAID)
        proof = facts_of(client, profile).traits[0].proofs[0]
        assert proof.origin == "api"
        assert f'href="https://crm.example/{proof.native_id}' in client.get(f"/profiles/{profile}/facts/location").text
