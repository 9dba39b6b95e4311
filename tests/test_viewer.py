"""The pages' rules: who may look, what a form needs, what is escaped, what is recorded, what each form does."""

import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from sqlalchemy import event
from starlette.routing import BaseRoute

from ingest_pipeline.api.pages.sessions import LASTS_S, Sessions
from ingest_pipeline.api.pages.viewer import PARTS
from ingest_pipeline.store.audit_log import load_audit_log
from ingest_pipeline.store.facts import ProfileFacts, load_facts
from tests.serving import KEY, serving

SAID = "I moved to Lisbon last month. I love chess. I prefer email.\n\n<script>document.title = 'hacked'</script>"
OTHER = "11111111-1111-4111-8111-111111111111"


@pytest.fixture
def client(database_url: str, tmp_path: Path) -> Iterator[TestClient]:
    """Logged in as Kim; the key is sent with the API's calls."""
    with serving(database_url, tmp_path) as client:
        log_in(client, name="Kim")
        yield client


@pytest.fixture
def small(tmp_path: Path) -> Iterator[TestClient]:
    """The same on SQLite, where no query matters."""
    with serving(f"sqlite:///{tmp_path / 'p.db'}", tmp_path) as client:
        log_in(client, name="Kim")
        yield client


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
    return load_facts(client.app.state.services.pipeline.engine, profile)  # type: ignore[attr-defined]


def value_of(client: TestClient, profile: str, key: str) -> Any:
    return {fact.key: fact.value for fact in facts_of(client, profile).traits}.get(key)


def routes(method: str) -> list[str]:
    """Paths of the pages' routes, with ids filled in."""
    found: list[BaseRoute] = [route for part in PARTS for route in part.router.routes]
    values = {"profile": OTHER, "reference": "location", "document": OTHER, "name": "base.css"}
    paths = [route.path for route in found if isinstance(route, APIRoute) and method in (route.methods or ())]
    return sorted(path.format(**values) for path in paths)


OPEN = {"/", "/login", "/static/base.css"}


def test_there_are_routes() -> None:
    """The tests below look at something."""
    assert len(routes("GET")) >= 12
    assert len(routes("POST")) >= 15


def test_every_page_asks_for_a_login_and_comes_back_to_itself(small: TestClient) -> None:
    small.cookies.clear()
    for path in routes("GET"):
        response = small.get(path, follow_redirects=False)
        if path in OPEN:
            assert response.status_code in (200, 303), path
        else:
            assert (response.status_code, response.headers["Location"]) == (303, f"/login?next={path}")


def test_no_form_does_anything_without_its_token(small: TestClient) -> None:
    """Nor with another session's, nor sent by a page of another site."""
    other = Sessions(KEY)
    token = token_of(small.get("/profiles").text)
    for path in routes("POST"):
        for form, headers in (
            ({}, {}),
            ({"token": other.token(other.begin("x", proven=True))}, {}),
            ({"token": "ü"}, {}),
            ({"token": token}, {"Origin": "http://evil.example"}),
            ({"token": token}, {"Origin": "null"}),
            ({"token": token}, {"Sec-Fetch-Site": "cross-site"}),
        ):
            response = small.post(path, data=form, headers=headers, follow_redirects=False)
            assert (response.status_code, path) == (403, path)
            assert "this form is too old" in response.text.lower()


def test_no_form_does_anything_without_a_login(small: TestClient) -> None:
    small.cookies.clear()
    for path in routes("POST"):
        if path != "/login":
            response = small.post(path, data={}, follow_redirects=False)
            assert (response.status_code, response.headers["Location"]) == (303, "/login")


def test_a_wrong_key_opens_nothing(small: TestClient) -> None:
    small.cookies.clear()
    for key in ("", "wrong", f"{KEY}x", "ü", "\x00"):
        response = log_in(small, key)
        assert response.status_code == 403
        assert "not valid" in response.text
        assert small.get("/profiles", follow_redirects=False).status_code == 303


def test_an_unforeseen_error_is_a_page_that_says_nothing(small: TestClient) -> None:
    @small.app.get("/profiles/x/bug")  # type: ignore[attr-defined]
    def fail() -> None:
        raise RuntimeError("Ana lives in Rome")

    small.app.router.routes.insert(0, small.app.router.routes.pop())  # type: ignore[attr-defined]
    response = small.get("/profiles/x/bug")
    assert response.status_code == 500
    assert "Something went wrong" in response.text
    assert "Rome" not in response.text
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]


def test_attempts_are_limited(small: TestClient) -> None:
    small.cookies.clear()
    codes = []
    for number in range(21):
        small.headers["Authorization"] = f"Bearer {number}"  # which makes no other caller
        codes.append(log_in(small, "wrong").status_code)
    assert set(codes[:15]) == {403}
    assert codes[-1] == 429


def test_the_cookie_is_opaque_and_for_this_site_only(small: TestClient) -> None:
    response = log_in(small)
    cookie = response.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Secure" not in cookie
    assert KEY not in cookie
    assert KEY not in Sessions(KEY).write(Sessions(KEY).begin("kim", proven=True))


def test_over_tls_the_cookie_is_for_tls_only(tmp_path: Path) -> None:
    """Also where a proxy that is trusted ends it."""
    with serving(f"sqlite:///{tmp_path / 'p.db'}", tmp_path, trusted_proxies=frozenset({"testclient"})) as client:
        token = token_of(client.get("/login").text)
        form = {"token": token, "key": KEY}
        response = client.post("/login", data=form, headers={"X-Forwarded-Proto": "https"}, follow_redirects=False)
        assert "Secure" in response.headers["Set-Cookie"]


def test_a_session_that_was_not_signed_here_or_is_too_old_is_none() -> None:
    now = [1_000_000.0]
    sessions = Sessions(KEY, clock=lambda: now[0])
    cookie = sessions.write(sessions.begin("kim", proven=True))
    assert sessions.read(cookie) is not None
    payload, _, signature = cookie.partition(".")
    for wrong in (
        None,
        "",
        ".",
        payload,
        f"{payload}.",
        f"{payload}x.{signature}",
        f"{payload}.{signature[:-1]}0",
        "ü.ü",
    ):
        assert sessions.read(wrong) is None
    assert Sessions("another key").read(cookie) is None
    assert Sessions(None).read(cookie) is None
    now[0] += LASTS_S
    assert sessions.read(cookie) is None


GOALS = [
    ("/status", "/status"),
    (f"/profiles/{OTHER}/facts/location", f"/profiles/{OTHER}/facts/location"),
    ("", "/profiles"),
    ("//evil.example", "/profiles"),
    ("/\\evil.example", "/profiles"),
    ("https://evil.example/", "/profiles"),
    ("/profiles//evil.example", "/profiles"),
    ("/profiles/../api", "/profiles"),
    ("/status\r\nX: y", "/profiles"),
    ("javascript:alert(1)", "/profiles"),
]


def test_a_login_leads_to_no_other_site(small: TestClient) -> None:
    for goal, leads_to in GOALS:
        assert log_in(small, goal=goal).headers["Location"] == leads_to, goal


def test_a_login_has_a_nonce_of_its_own(small: TestClient) -> None:
    """A token that was known before the login is worth nothing after it."""
    small.cookies.clear()
    before = token_of(small.get("/login").text)
    log_in(small)
    assert token_of(small.get("/profiles").text) != before
    assert small.post("/logout", data={"token": before}).status_code == 403


def test_after_logging_out_nothing_is_shown(small: TestClient) -> None:
    send(small, "/logout")
    assert small.get("/profiles", follow_redirects=False).headers["Location"] == "/login?next=/profiles"


def test_without_a_key_there_is_no_login_but_a_token(tmp_path: Path) -> None:
    with serving(f"sqlite:///{tmp_path / 'p.db'}", tmp_path, key=None) as client:
        profile = ingest(client, "ana", SAID)
        assert client.get(f"/profiles/{profile}").status_code == 200
        assert client.post(f"/profiles/{profile}/facts/location/reject").status_code == 403
        assert value_of(client, profile, "location") == "Lisbon"
        send(client, f"/profiles/{profile}/facts/location/reject")
        assert value_of(client, profile, "location") is None
        log_in(client, key="", name="Kim")
        send(client, f"/profiles/{profile}/facts/interests/reject")
        entries = load_audit_log(client.app.state.services.pipeline.engine, profile)  # type: ignore[attr-defined]
        assert {(e.actor, e.action) for e in entries if e.action == "reject"} == {
            ("viewer", "reject"),
            ("Kim", "reject"),
        }


HOSTS = [
    ("localhost", 200),
    ("localhost:8000", 200),
    ("127.0.0.1:8000", 200),
    ("127.1.2.3", 200),
    ("[::1]:8000", 200),
    ("viewer.localhost", 200),
    ("evil.example", 403),
    ("evil.example:8000", 403),
    ("localhost.evil.example", 403),
    ("192.168.1.5", 403),
    ("[::2]", 403),
    ("[", 403),
    ("", 403),
]


def test_without_a_key_only_this_machine_is_answered(tmp_path: Path) -> None:
    """Whatever name another site lets point here; and its pages may not write."""
    with serving(f"sqlite:///{tmp_path / 'p.db'}", tmp_path, key=None) as client:
        for host, status in HOSTS:
            for path in ("/profiles", "/api/profiles", "/health"):
                assert client.get(path, headers={"Host": host}).status_code == status, host
        foreign = {"Origin": "http://evil.example", "Content-Type": "application/json"}
        response = client.post("/api/profiles", content=b'{"externalId": "x"}', headers=foreign)
        assert (response.status_code, response.json()["error"]["code"]) == (403, "foreign_request")


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
    entries = load_audit_log(client.app.state.services.pipeline.engine, profile)  # type: ignore[attr-defined]
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
    ana = ingest(client, "ana", SAID)
    bo = ingest(client, "bo", "I live in Oslo.")
    assert send(client, f"/profiles/{ana}/split").status_code == 400
    assert send(client, f"/profiles/{ana}/split", leaving="x@y.example").status_code == 400
    assert client.get(f"/profiles/{bo}/split").status_code == 200


def test_a_person_is_forgotten_after_a_yes(client: TestClient) -> None:
    profile = ingest(client, "ana", SAID)
    home = f"/profiles/{profile}"
    assert "It cannot be undone" in client.get(f"{home}/forget").text
    assert send(client, f"{home}/forget").status_code == 400
    assert facts_of(client, profile).traits
    response = send(client, f"{home}/forget", sure="yes")
    assert "Erased" in response.text
    assert client.get(home).status_code == 404
    entries = load_audit_log(client.app.state.services.pipeline.engine, profile)  # type: ignore[attr-defined]
    assert [(e.actor, e.via) for e in entries if e.action == "erase"] == [("Kim", "viewer")]


def test_people_are_found_and_listed_in_pages(client: TestClient) -> None:
    for number in range(30):
        client.post("/api/profiles", json={"externalId": f"person-{number:02}"})
    first, second = client.get("/profiles").text, client.get("/profiles?page=2").text
    assert "1–25 of 30" in first
    assert "26–30 of 30" in second
    assert 'href="/profiles?page=2"' in first
    found = client.get("/profiles?q=person-07").text
    assert found.count('<a href="/profiles/') == 1
    assert "Nobody matches" in client.get("/profiles?q=nobody").text
    assert client.get("/profiles?page=0").status_code == 400


def queries(client: TestClient, path: str) -> int:
    """How many a page takes."""
    engine = client.app.state.services.pipeline.engine  # type: ignore[attr-defined]
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


def test_records_and_runs_are_linked_where_their_address_is_known(tmp_path: Path) -> None:
    settings = {"record_urls": '{"api": "https://crm.example/{id}"}', "dagster_url": "https://dagster.example/"}
    with serving(f"sqlite:///{tmp_path / 'p.db'}", tmp_path, **settings) as client:
        log_in(client)
        profile = ingest(client, "ana", SAID)
        proof = facts_of(client, profile).traits[0].proofs[0]
        assert proof.origin == "api"
        assert f'href="https://crm.example/{proof.native_id}' in client.get(f"/profiles/{profile}/facts/location").text
