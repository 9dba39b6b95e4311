"""Counts different things exactly, however many there are: they are kept in an unnamed SQLite file, not in memory."""

import hashlib
import sqlite3
from collections import Counter
from contextlib import closing
from types import TracebackType

_BATCH = 10_000


class Tally:
    """Keys with a label each. A key that comes again counts once, under the label that is greater. A context manager.

    SQLite deletes its unnamed file on close, and keeps a few megabytes of it in memory.
    """

    def __init__(self) -> None:
        self._rows = sqlite3.connect("")
        self._rows.execute("CREATE TABLE seen (key BLOB PRIMARY KEY, label TEXT) WITHOUT ROWID")
        self._pending: list[tuple[bytes, str]] = []

    def __enter__(self) -> "Tally":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._rows.close()

    def add(self, label: str, *key: str) -> None:
        digest = hashlib.blake2b("\x1f".join(key).encode("utf-8", "surrogatepass"), digest_size=16).digest()
        self._pending.append((digest, label))
        if len(self._pending) >= _BATCH:
            self._flush()

    def counts(self) -> Counter[str]:
        """Label → how many different keys."""
        self._flush()
        with closing(self._rows.execute("SELECT label, count(*) FROM seen GROUP BY label ORDER BY label")) as rows:
            return Counter(dict(rows))

    def _flush(self) -> None:
        self._rows.executemany(
            "INSERT INTO seen VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET label = max(label, excluded.label)",
            self._pending,
        )
        self._pending.clear()
