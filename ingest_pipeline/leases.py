"""Keeping what is this process's for a while, by saying again and again that it still is."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

from sqlalchemy.exc import SQLAlchemyError


@contextmanager
def kept(renew: Callable[[], object], every_s: float) -> Iterator[None]:
    """``renew`` is called every so often until the end of the block, however long a step takes.

    When the database fails it is given up: another process may take over then, and twice must be no harm.
    """
    over = Event()

    def keep() -> None:
        while not over.wait(every_s):
            try:
                renew()
            except SQLAlchemyError:
                return

    thread = Thread(target=keep, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
