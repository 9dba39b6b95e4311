"""Who may look and change: the login, its cookie, the token of every form, other sites, who is let in without a key."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from starlette.routing import BaseRoute

from ingest_pipeline.api.pages.sessions import LASTS_S, Sessions
from ingest_pipeline.api.pages.viewer import PARTS
from ingest_pipeline.store.audit_log import load_audit_log
from tests.serving import KEY, serving
from tests.viewing import OTHER, SAID, engine_of, ingest, log_in, send, token_of, value_of


@pytest.fixture
def small(tmp_path: Path) -> Iterator[TestClient]:
    """Logged in as Kim, on SQLite."""
    with serving(f"sqlite:///{tmp_path / 'p.db'}", tmp_path) as client:
        log_in(client, name="Kim")
        yield client


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
        f"{payload}.{signature[:-1]}{'0' if signature[-1] != '0' else '1'}",
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
        entries = load_audit_log(engine_of(client), profile)
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
