"""What every request passes: key, size, rate; one shape for every error; the headers of every response."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ingest_pipeline.api.guard import MAX_BODY_BYTES, Guard
from ingest_pipeline.api.rates import Allowance, RateKind, RequestRates, TooManyRequests
from ingest_pipeline.api.wrong_keys import WrongKeys
from ingest_pipeline.cli.serving import check_host
from ingest_pipeline.errors import ConfigurationError, ExtractionError, InvalidInput, StoreUnavailable
from ingest_pipeline.settings import load_settings
from ingest_pipeline.store.engine import create_store_engine
from tests.serving import KEY, serving


@pytest.fixture
def client(database_url: str, tmp_path: Path) -> Iterator[TestClient]:
    with serving(database_url, tmp_path) as client:
        yield client


@pytest.fixture
def probe(tmp_path: Path) -> Iterator[TestClient]:
    """With a route that reads the body, and some that fail."""
    with serving(f"sqlite:///{tmp_path / 'p.db'}", tmp_path) as client:

        @client.app.post("/api/probe")  # type: ignore[attr-defined]
        async def read(request: Request) -> dict[str, Any]:
            return {"bytes": len(await request.body())}

        @client.app.get("/api/fail/{how}")  # type: ignore[attr-defined]
        def fail(how: str) -> None:
            raise ERRORS[how][0]

        yield client


ERRORS: dict[str, tuple[Exception, int, str, str]] = {
    "input": (InvalidInput("invalid_data", "data is required", "data"), 400, "invalid_request_error", "invalid_data"),
    "missing": (InvalidInput("trait_not_found", "no such trait"), 404, "not_found_error", "trait_not_found"),
    "failed": (ExtractionError("timeout", "failed", "d"), 500, "internal_error", "extraction_error"),
    "limit": (ExtractionError("rate_limited", "wait", "d"), 503, "rate_limit_error", "rate_limited"),
    "budget": (ExtractionError("budget", "spent", "d"), 503, "rate_limit_error", "budget_exhausted"),
    "store": (StoreUnavailable("no answer"), 503, "internal_error", "configuration_error"),
    "settings": (ConfigurationError("wrong"), 500, "internal_error", "configuration_error"),
    "bug": (RuntimeError("Ana lives in Rome"), 500, "internal_error", "internal_error"),
}


@pytest.mark.parametrize("how", ERRORS)
def test_every_error_has_the_one_shape(probe: TestClient, how: str) -> None:
    _, status, kind, code = ERRORS[how]
    response = probe.get(f"/api/fail/{how}")
    error = response.json()["error"]
    assert (response.status_code, error["type"], error["code"]) == (status, kind, code)
    assert error["message"]
    assert "Rome" not in response.text
    assert ("Retry-After" in response.headers) is (status == 503)
    assert ("documentId" in error.get("details", {})) is (how in ("failed", "limit", "budget"))


def test_what_is_not_there_has_it_too(client: TestClient) -> None:
    for response, status in ((client.get("/api/nothing"), 404), (client.post("/ready"), 405)):
        assert response.status_code == status
        assert set(response.json()["error"]) == {"message", "type", "code"}


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, "missing_api_key"),
        ("", "missing_api_key"),
        ("Bearer", "missing_api_key"),
        ("Bearer ", "missing_api_key"),
        (f"Basic {KEY}", "missing_api_key"),
        (KEY, "missing_api_key"),
        ("Bearer wrong", "invalid_api_key"),
        (f"Bearer {KEY}x", "invalid_api_key"),
        ("Bearer \u00fc", "invalid_api_key"),
    ],
)
def test_without_the_key_nothing_is_told(client: TestClient, header: str | None, code: str) -> None:
    """Not even whether the path exists."""
    headers = {"Authorization": "" if header is None else header.encode("latin-1")}
    for path in ("/api/profiles", "/api/nothing", "/v1/models", "/openapi.json"):
        response = client.get(path, headers=headers)
        assert (response.status_code, response.json()["error"]["code"]) == (401, code)
        assert response.json()["error"]["type"] == "authentication_error"
    assert client.get("/health", headers=headers).json() == {"status": "ok"}
    assert client.get("/ready", headers=headers).json() == {"status": "ready"}


@pytest.fixture
def guesses(database_url: str, tmp_path: Path) -> Iterator[TestClient]:
    """A server that believes this client what its address is."""
    with serving(database_url, tmp_path, trusted_proxies=["testclient"]) as client:
        yield client


def tried(client: TestClient, address: str, key: str, path: str = "/v1/models") -> Any:
    return client.get(path, headers={"Authorization": f"Bearer {key}", "X-Forwarded-For": address})


def test_an_address_tries_20_wrong_keys_a_minute_and_then_no_right_one(guesses: TestClient) -> None:
    """Over all processes. The others go on, and so does an address whose key was right before."""
    assert tried(guesses, "9.9.9.9", KEY).status_code == 200
    for address in ("6.6.6.6", "9.9.9.9"):
        assert [tried(guesses, address, f"wrong {n}").status_code for n in range(22)] == [401] * 20 + [429] * 2
        for path in ("/v1/models", "/api/profiles", "/openapi.json", "/api/nothing"):
            refused = tried(guesses, address, "wrong", path)
            assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
            assert 1 <= int(refused.headers["Retry-After"]) <= 3
    for address, status in (("6.6.6.6", 429), ("9.9.9.9", 200), ("1.2.3.4", 200)):
        assert tried(guesses, address, KEY).status_code == status
    # Who sends no key guesses nothing.
    assert tried(guesses, "6.6.6.6", "").status_code == 401
    rates = guesses.app.state.services.rates  # type: ignore[attr-defined]
    with pytest.raises(TooManyRequests):
        rates.take(RateKind.WRONG_KEY, "6.6.6.6")


def test_a_wrong_key_that_cannot_be_counted_is_let_in_nowhere(guesses: TestClient) -> None:
    """Nor is a right one, where each request counts; the answer says to try again."""
    limits = create_store_engine(guesses.app.state.services.pipeline.settings.limits_url)  # type: ignore[attr-defined]
    with limits.begin() as connection:
        connection.execute(text("DROP TABLE api_rates"))
    limits.dispose()
    for key, path in (("wrong", "/v1/models"), (KEY, "/api/profiles")):
        response = tried(guesses, "6.6.6.6", key, path)
        assert (response.status_code, response.json()["error"]["code"]) == (503, "internal_error")
        assert response.headers["Retry-After"]
        assert "Content-Security-Policy" in response.headers


def test_who_waited_may_try_again() -> None:
    now = [0.0]
    keys = WrongKeys(lambda: now[0])
    assert "20 wrong keys" in str(keys.refuse("6.6.6.6", TooManyRequests(Allowance(20, 0), 2.5)))
    with pytest.raises(TooManyRequests) as refused:
        keys.check("6.6.6.6")
    assert refused.value.retry_after_s == 2.5
    keys.check("1.2.3.4")
    now[0] = 2.5
    keys.check("6.6.6.6")
    keys.check_wrong("6.6.6.6")


def test_of_many_addresses_the_latest_are_remembered() -> None:
    keys = WrongKeys(lambda: 0.0)
    for n in range(10_001):
        keys.refuse(str(n), TooManyRequests(Allowance(20, 0), 2.5))
    keys.check("0")
    with pytest.raises(TooManyRequests):
        keys.check("1")


def test_the_key_opens_in_any_case_of_bearer(client: TestClient) -> None:
    for scheme in ("Bearer", "bearer", "BEARER"):
        assert client.get("/openapi.json", headers={"Authorization": f"{scheme} {KEY}"}).status_code == 200


def test_one_key_has_one_allowance_however_its_header_is_written(database_url: str, tmp_path: Path) -> None:
    with serving(database_url, tmp_path, api_rpm=3) as client:
        headers = [f"Bearer {KEY}", f"bearer {KEY}", f"BEARER   {KEY}", f"Bearer {KEY}  "]
        statuses = [client.get("/api/profiles", headers={"Authorization": each}).status_code for each in headers]
    assert statuses == [200, 200, 200, 429]


def test_no_key_set_no_key_asked(database_url: str, tmp_path: Path) -> None:
    with serving(database_url, tmp_path, key=None) as client:
        assert client.get("/openapi.json").status_code == 200


@pytest.mark.parametrize(("prefix", "limit", "code"), MAX_BODY_BYTES)
def test_a_body_that_is_too_large_is_refused_by_its_length(
    probe: TestClient, prefix: str, limit: int, code: str
) -> None:
    response = probe.post(prefix or "/api/probe", headers={"Content-Length": str(limit + 1)}, content=b"")
    assert (response.status_code, response.json()["error"]["code"]) == (400, code)


def test_and_while_it_comes_when_no_length_is_said(probe: TestClient) -> None:
    def chunks(n: int) -> Iterator[bytes]:
        yield from (b"x" * 1_000 for _ in range(n))

    assert probe.post("/api/probe", content=chunks(1_000)).json()["bytes"] == 1_000_000
    response = probe.post("/api/probe", content=chunks(1_001))
    assert (response.status_code, response.json()["error"]["code"]) == (400, "data_too_large")


@pytest.mark.parametrize(
    ("forwarded", "caller"),
    [
        (None, "testclient"),
        ("1.2.3.4", "1.2.3.4"),
        ("6.6.6.6, 1.2.3.4", "1.2.3.4"),  # what the client wrote itself is not believed
        ("6.6.6.6, 1.2.3.4, 10.0.0.9", "1.2.3.4"),
        ("10.0.0.9", "10.0.0.9"),
        (" , ", "testclient"),
    ],
)
def test_a_client_is_known_by_what_a_trusted_proxy_says(forwarded: str | None, caller: str) -> None:
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["state"]["caller"])
        await Response()(scope, receive, send)

    client = TestClient(Guard(app, None, frozenset({"testclient", "10.0.0.9"})), "http://localhost")
    client.get("/x", headers={"X-Forwarded-For": forwarded} if forwarded else {})
    # The same in lines of their own, as some proxies write it.
    client.get("/x", headers=[("X-Forwarded-For", part) for part in (forwarded or "").split(",")])
    assert seen == [f"address {caller}"] * 2


def test_a_client_that_goes_away_in_the_middle_of_a_body_is_no_failure(client: TestClient) -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"authorization", f"Bearer {KEY}".encode()), (b"content-type", b"application/json")]
    scope = {
        "type": "http", "method": "POST", "path": "/v1/chat/completions", "query_string": b"", "headers": headers,
        "http_version": "1.1", "scheme": "http", "server": ("localhost", 80), "client": ("127.0.0.1", 1),
        "root_path": "",
    }  # fmt: skip
    assert client.portal is not None
    client.portal.call(client.app, scope, receive, send)
    assert sent[0]["status"] == 400


def test_every_response_has_the_security_headers(client: TestClient) -> None:
    for response in (
        client.get("/health"),
        client.get("/api/nothing"),
        client.get("/v1/x", headers={"Authorization": ""}),
    ):
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        assert response.headers["Cache-Control"] == "no-store"


def test_a_minutes_allowance_may_be_used_at_once_and_comes_back_evenly(database_url: str, tmp_path: Path) -> None:
    """Over all processes: two of them here. One caller's does not touch the others'."""
    limits = f"sqlite:///{tmp_path / 'l.db'}" if database_url.startswith("sqlite") else database_url
    per_minute = {RateKind.API: 5}
    one, two = RequestRates(limits, per_minute), RequestRates(limits, per_minute)
    remaining = [rates.take(RateKind.API, "a").remaining for rates in (one, two, one, two, one)]
    assert remaining == [4, 3, 2, 1, 0]
    for rates in (one, two):
        with pytest.raises(TooManyRequests) as refused:
            rates.take(RateKind.API, "a")
        assert 11 < refused.value.retry_after_s <= 12
        assert refused.value.allowance.headers() == {"X-RateLimit-Limit": "5", "X-RateLimit-Remaining": "0"}
    assert two.take(RateKind.API, "b").remaining == 4
    one.close()
    two.close()


def test_limits_of_api_and_proxy_are_apart(tmp_path: Path) -> None:
    with serving(f"sqlite:///{tmp_path / 'p.db'}", tmp_path, api_rpm=2, proxy_rpm=1) as client:
        for path, allowed in (("/api/profiles", 2), ("/v1/models", 1)):
            for left in reversed(range(allowed)):
                assert client.get(path).headers["X-RateLimit-Remaining"] == str(left)
            refused = client.get(path)
            error = refused.json()["error"]
            assert (refused.status_code, error["code"], error["type"]) == (
                429,
                "rate_limit_exceeded",
                "rate_limit_error",
            )
            assert int(refused.headers["Retry-After"]) >= 1
            assert refused.headers["X-RateLimit-Limit"] == str(allowed)
            assert refused.headers["X-RateLimit-Remaining"] == "0"


def test_ingest_serve_serves_with_several_workers_and_ends_on_ctrl_c(tmp_path: Path) -> None:
    ingest = Path(sys.executable).with_name("ingest")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("INGEST_")} | {"INGEST_HOME": str(tmp_path)}
    port = _free_port()
    command = [ingest, "serve", "--port", str(port), "--workers", "2"]
    server = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        url = re.match(r"(http://127\.0\.0\.1:\d+)", server.stdout.readline())
        assert url
        assert _get(f"{url[1]}/ready") == {"status": "ready"}
    finally:
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=30)
    assert server.returncode in (0, -signal.SIGINT)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _get(url: str) -> Any:
    """Once it answers."""
    for _ in range(600):
        try:
            with urllib.request.urlopen(url, timeout=10) as response:
                return json.load(response)
        except urllib.error.URLError:
            threading.Event().wait(0.05)
    raise AssertionError("no answer")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.com", "not an address"])
def test_without_a_key_it_listens_on_loopback_only(tmp_path: Path, host: str) -> None:
    with pytest.raises(ConfigurationError, match="needs INGEST_API_KEY; set it, or use --host"):
        check_host(host, load_settings(home=tmp_path))
    check_host(host, load_settings(home=tmp_path, api_key=KEY))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_needs_no_key(tmp_path: Path, host: str) -> None:
    check_host(host, load_settings(home=tmp_path))
