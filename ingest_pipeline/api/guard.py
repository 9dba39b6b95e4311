"""What every request passes before a route sees it: size, key; and the headers that every response gets.

Plain ASGI, so that a body that is too large is never held, let alone parsed.
"""

import hmac
import ipaddress
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoneFree
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ingest_pipeline.api.errors import TooLarge, Unauthorised, answer, database_failed
from ingest_pipeline.api.rates import RateKind, RequestRates, TooManyRequests
from ingest_pipeline.api.wrong_keys import WrongKeys
from ingest_pipeline.errors import IngestError
from ingest_pipeline.proxy.errors import NotAllowed

OPEN_PATHS = frozenset({"/health", "/ready"})
"""Answered without a key."""

KEYED = ("/api/", "/v1/", "/openapi.json")
"""Paths that ask for the key as a bearer token; pages have a login of their own."""

MAX_BODY_BYTES: tuple[tuple[str, int, str], ...] = (
    ("/v1/", 8_000_000, "total_size_too_large"),
    ("/api/ingest/batch", 256_000_000, "data_too_large"),
    ("", 1_000_000, "data_too_large"),
)
"""Path prefix, bytes, error code. JSON may write a byte of text as six: these are well above the texts' own limits."""

SECURITY_HEADERS: dict[str, str] = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # No more than other sites need to know, which is nothing; without any referrer forms would name no origin.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; font-src 'self'; "
        "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "Cache-Control": "no-store",
}


class Guard:
    """``api_key`` None: no key is asked for, and the server listens on loopback only."""

    def __init__(self, app: ASGIApp, api_key: str | None, trusted_proxies: frozenset[str]) -> None:
        self.app, self.trusted_proxies = app, trusted_proxies
        self._key = api_key or None
        self._wrong = WrongKeys()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        address = self._address(scope, headers)
        scope.setdefault("state", {}).update(address=address, caller=self._caller(headers, address))
        try:
            if self._key is None:
                _check_local(scope["method"], headers)
            if scope["path"] not in OPEN_PATHS and scope["path"].startswith(KEYED):
                await self._check_key(scope, headers, address)
            limited = _limited(scope["path"], headers, receive)
        except IngestError as error:
            await answer(error)(scope, receive, _with_headers(scope, send))
            return
        except (DBAPIError, NoneFree) as error:
            await database_failed(error)(scope, receive, _with_headers(scope, send))
            return
        await self.app(scope, limited, _with_headers(scope, send))

    async def _check_key(self, scope: Scope, headers: Headers, address: str) -> None:
        if self._key is None:
            return
        token = _token(headers)
        if not token:
            raise Unauthorised("missing_api_key", "send the key as `Authorization: Bearer KEY`")
        self._wrong.check(address)
        if is_key(self._key, token):
            self._wrong.was_right(address)
            return
        self._wrong.check_wrong(address)
        rates: RequestRates = scope["app"].state.services.rates
        try:
            await run_in_threadpool(rates.take, RateKind.WRONG_KEY, address)
        except TooManyRequests as refusal:
            raise self._wrong.refuse(address, refusal) from None
        raise Unauthorised("invalid_api_key", "this key is not valid")

    def _caller(self, headers: Headers, address: str) -> str:
        """Whom rate limits count by: the key when there is one, else the client's address."""
        token = _token(headers) if self._key is not None else None
        return f"key {token}" if token else f"address {address}"

    def _address(self, scope: Scope, headers: Headers) -> str:
        """The client's. ``X-Forwarded-For`` counts only from proxies that are trusted; its last entry is the one that
        they wrote."""
        address = str(scope["client"][0]) if scope.get("client") else "unknown"
        # Some proxies add a line of their own below the one that the client wrote.
        written = ",".join(headers.getlist("x-forwarded-for"))
        forwarded = [part.strip() for part in written.split(",") if part.strip()]
        while address in self.trusted_proxies and forwarded:
            address = forwarded.pop()
        return address


def _token(headers: Headers) -> str | None:
    """The bearer token, however its header is written."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def is_key(key: str | None, given: str) -> bool:
    """In constant time."""
    return key is not None and hmac.compare_digest(given.encode("utf-8", "surrogateescape"), key.encode())


def _check_local(method: str, headers: Headers) -> None:
    """Without a key whoever reaches the port is let in: a page of another site in this machine's browser must not be.

    Its requests name their origin; and a name of its own that it lets point here (DNS rebinding) is not this machine's.
    """
    host = headers.get("host", "")
    if not is_loopback(host):
        raise NotAllowed(
            "foreign_request", "without INGEST_API_KEY this server answers to localhost and 127.0.0.1 only"
        )
    if method not in ("GET", "HEAD", "OPTIONS") and is_foreign(headers):
        raise NotAllowed("foreign_request", "a page of another site must not change anything here")


def is_loopback(host: str) -> bool:
    """Of a ``Host`` header."""
    name = urlsplit(f"//{host}").hostname if "]" in host or "[" not in host else None
    if name is None:
        return False
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")


def is_foreign(headers: Headers) -> bool:
    """Whether a browser says that a page of another origin sends this. Over plain HTTP it may say so by Origin only."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        return site not in ("same-origin", "none")
    if origin is None:
        return False
    return urlsplit(origin).netloc.lower() != headers.get("host", "").lower()


def _limited(path: str, headers: Headers, receive: Receive) -> Receive:
    """``receive`` that stops at the path's limit. Raises TooLarge at once when the length is said beforehand."""
    limit, code = next((limit, code) for prefix, limit, code in MAX_BODY_BYTES if path.startswith(prefix))
    length = headers.get("content-length", "")
    if length.isascii() and length.isdigit() and int(length) > limit:
        raise TooLarge(code, limit)
    received = 0

    async def receive_limited() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit:
            raise TooLarge(code, limit)
        return message

    return receive_limited


def _with_headers(scope: Scope, send: Send) -> Send:
    async def send_with_headers(message: Any) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            # What is left of the caller's allowance, where a route counted the request.
            for name, value in (SECURITY_HEADERS | scope["state"].get("headers", {})).items():
                headers.setdefault(name, value)
        await send(message)

    return send_with_headers
