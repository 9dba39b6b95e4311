"""Who tries keys: after some wrong ones an address waits, and its right ones are not looked at either.

Otherwise the answer to the next guess would tell all the same whether it was right. An address whose key was right
before goes on: one misconfigured program does not lock out the others of its machine.
"""

import time
from collections.abc import Callable
from typing import Any

from ingest_pipeline.api.rates import Allowance, TooManyRequests

WRONG_KEYS_PER_MINUTE = 20
"""Of one address; the same number as attempts at the pages' login, which are counted apart."""

_REMEMBERED = 10_000
"""Addresses of each sort; the oldest goes first."""


class TooManyWrongKeys(TooManyRequests):
    def __init__(self, allowance: Allowance, retry_after_s: float) -> None:
        super().__init__(allowance, retry_after_s)
        self.args = (f"more than {allowance.limit} wrong keys per minute; wait {retry_after_s:.1f} seconds",)


class WrongKeys:
    """Of one process; used by its event loop alone. ``clock``: seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._proven: dict[str, None] = {}
        self._refused: dict[str, tuple[float, Allowance]] = {}

    def check(self, address: str) -> None:
        """Before a key is looked at. Raises TooManyWrongKeys while the address has to wait."""
        if address in self._refused and address not in self._proven:
            self.check_wrong(address)

    def check_wrong(self, address: str) -> None:
        """As ``check``, when the key is known to be wrong."""
        until, allowance = self._refused.get(address, (0.0, None))
        left = until - self._clock()
        if allowance is not None and left > 0:
            raise TooManyWrongKeys(allowance, left)

    def was_right(self, address: str) -> None:
        if address not in self._proven:
            _remember(self._proven, address, None)

    def refuse(self, address: str, refusal: TooManyRequests) -> TooManyWrongKeys:
        """The address has used up its allowance; returns what to tell it."""
        _remember(self._refused, address, (self._clock() + refusal.retry_after_s, refusal.allowance))
        return TooManyWrongKeys(refusal.allowance, refusal.retry_after_s)


def _remember(known: dict[str, Any], address: str, what: object) -> None:
    known.pop(address, None)
    known[address] = what
    if len(known) > _REMEMBERED:
        del known[next(iter(known))]
