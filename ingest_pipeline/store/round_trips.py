"""Round trips to PostgreSQL that are saved: each costs as much as a small query, here and there."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import InvalidatePoolError

PING_AFTER_S = 1.0


def ping_when_idle(engine: Engine, after_s: float = PING_AFTER_S) -> None:
    """As ``pool_pre_ping``, but connections that were used less than ``after_s`` ago count as alive: under load no
    transaction begins with a question, and a server that was restarted costs a request or two."""

    @event.listens_for(engine, "checkin")
    def _note(_connection: Any, record: Any) -> None:
        record.info["used"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def _ping(connection: Any, record: Any, _proxy: Any) -> None:
        used = record.info.get("used")
        if used is None or time.monotonic() - used < after_s:
            return
        assert engine.dialect.dbapi is not None
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.dbapi.Error:
            raise InvalidatePoolError from None


@contextmanager
def committed_singly(engine: Engine) -> Iterator[Connection]:
    """A connection whose statements are a transaction each, without the two round trips that one takes.

    Nothing is lost by it for what reads: each statement sees what is committed when it begins, in a transaction too.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        yield connection
