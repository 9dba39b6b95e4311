"""How many requests a caller may send: GCRA over the limits database, so that it holds over all worker processes.

The generic cell rate algorithm keeps one number per caller: when its allowance is whole again. A minute's allowance may
be used at once and comes back evenly.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import text

from ingest_pipeline.errors import IngestError
from ingest_pipeline.llm.limits import LimitsDb, open_limits

_WINDOW_S = 60.0

_TAKE = text(
    "INSERT INTO api_rates (name, whole_at) VALUES (:name, :now + :step) "
    "ON CONFLICT (name) DO UPDATE SET whole_at = "
    "(CASE WHEN api_rates.whole_at > :now THEN api_rates.whole_at ELSE :now END) + :step "
    "WHERE (CASE WHEN api_rates.whole_at > :now THEN api_rates.whole_at ELSE :now END) + :step <= :latest "
    "RETURNING whole_at"
)
_SEE = text("SELECT whole_at FROM api_rates WHERE name = :name")
_CLEAN = text("DELETE FROM api_rates WHERE whole_at < :now")
_CLEAN_EVERY = 10_000
"""Requests between two removals of callers that have their whole allowance."""


class RateKind(StrEnum):
    """Each has a limit and an allowance of its own."""

    API = "api"
    PROXY = "proxy"
    LOGIN = "login"
    WRONG_KEY = "wrong_key"


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is left of a caller's requests per minute, for the ``X-RateLimit`` headers."""

    limit: int
    remaining: int

    def headers(self) -> dict[str, str]:
        return {"X-RateLimit-Limit": str(self.limit), "X-RateLimit-Remaining": str(self.remaining)}


class TooManyRequests(IngestError):
    """The caller's allowance is used up; the next request is due after ``retry_after_s`` seconds."""

    def __init__(self, allowance: Allowance, retry_after_s: float) -> None:
        super().__init__(f"more than {allowance.limit} requests per minute; wait {retry_after_s:.1f} seconds")
        self.allowance = allowance
        self.retry_after_s = retry_after_s


class RequestRates:
    """Thread-safe; one per process."""

    def __init__(self, limits_url: str, per_minute: Mapping[RateKind, int]) -> None:
        self._db = LimitsDb(open_limits(limits_url))
        self._per_minute = per_minute
        self._taken = 0

    def take(self, kind: RateKind, caller: str) -> Allowance:
        """Count one request. Raises TooManyRequests, and counts nothing then. ``caller`` is not stored in clear."""
        limit = self._per_minute[kind]
        step = _WINDOW_S / limit
        name = hashlib.sha256(f"{kind}\0{caller}".encode()).hexdigest()
        with self._db.write_singly() as tx:
            now = self._db.now(tx)
            taken = tx.run(_TAKE, name=name, now=now, step=step, latest=now + _WINDOW_S)
            whole_at = (taken or tx.run(_SEE, name=name))[0][0]
            self._taken += 1
            if self._taken % _CLEAN_EVERY == 0:
                tx.run(_CLEAN, now=now)
        allowance = Allowance(limit, max(0, int((now + _WINDOW_S - whole_at) / step + 1e-6)))
        if not taken:
            raise TooManyRequests(allowance, whole_at + step - _WINDOW_S - now)
        return allowance

    def close(self) -> None:
        self._db.close()
