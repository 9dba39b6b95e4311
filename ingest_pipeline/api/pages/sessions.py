"""Sessions of the pages: a signed cookie that holds no key and no secret, and the tokens of its forms. No state.

cookie = base64url(JSON of the session) . HMAC-SHA-256; the secret is derived from the API key, so that every worker
process has the same one, a new key ends all sessions, and a leaked cookie is no quick way to guess the key (scrypt).
Without an API key there is nothing to prove; the cookie then only ties forms to the browser that asked for them.
"""

import base64
import binascii
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache

COOKIE = "ingest_session"
LASTS_S = 12 * 3600
"""How long a login holds."""

DEFAULT_ACTOR = "viewer"


@dataclass(frozen=True, slots=True)
class Session:
    """``proven``: the key was given. ``actor`` is who says to look, for the audit log. ``begun``: Unix time."""

    nonce: str
    actor: str
    begun: int
    proven: bool


@lru_cache(maxsize=4)
def _secret(key: bytes) -> bytes:
    return hashlib.scrypt(key, salt=b"ingest pipeline: sessions of the pages", n=2**14, r=8, p=1, dklen=32)


class Sessions:
    """Thread-safe. ``key`` None: every session is proven."""

    def __init__(self, key: str | None, clock: Callable[[], float] = time.time) -> None:
        self.keyed = key is not None
        self._key, self._clock = (key or "").encode(), clock

    def begin(self, actor: str, proven: bool) -> Session:
        """A new one, with a nonce of its own."""
        return Session(secrets.token_urlsafe(18), actor, int(self._clock()), proven or not self.keyed)

    def write(self, session: Session) -> str:
        """The cookie's value."""
        payload = base64.urlsafe_b64encode(json.dumps(asdict(session)).encode()).decode()
        return f"{payload}.{self._sign('session', payload)}"

    def read(self, cookie: str | None) -> Session | None:
        """The session of a cookie; None when it was not signed here, or is too old."""
        payload, _, signature = (cookie or "").rpartition(".")
        if not _same(signature, self._sign("session", payload)):
            return None
        try:
            session = Session(**json.loads(base64.urlsafe_b64decode(payload)))
            is_current = 0 <= self._clock() - session.begun < LASTS_S
        except (binascii.Error, ValueError, TypeError):  # signed without a key, by anybody
            return None
        return session if is_current else None

    def token(self, session: Session) -> str:
        """What the forms of this session carry."""
        return self._sign("form", session.nonce)

    def is_token(self, session: Session, token: str) -> bool:
        return _same(token, self.token(session))

    def _sign(self, purpose: str, text: str) -> str:
        message = f"{purpose}\0{text}".encode("utf-8", "surrogateescape")
        return hmac.new(_secret(self._key), message, hashlib.sha256).hexdigest()


def _same(given: str, right: str) -> bool:
    """In constant time."""
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), right.encode())
