"""What a reader is. To add a format: write one file with a ``READER``, add it to ``registry.READERS``."""

import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from ingest_pipeline.documents import Item, Source

HEAD_BYTES = 65_536
"""How much of a file ``detect`` gets to see."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file of the inbox. ``name`` is its path inside the inbox, with ``/``; it goes into lineage.

    ``opener`` gives a fresh, seekable binary stream; use it as ``with file.opener() as stream``. ``mapped`` tells that
    a ``mapping.yaml`` lies in the file's folder and says what its tables are.
    """

    name: str
    size: int
    mtime: float
    opener: Callable[[], BinaryIO]
    mapped: bool = False


@dataclass(frozen=True, slots=True)
class Export:
    """Files that are read together: one mbox, one zip, or all tables of one CRM export folder."""

    format: str
    source: Source
    files: tuple[SourceFile, ...]


def staff_key(name: str) -> str:
    """How names and ids of staff are compared: without regard to case, composition and spaces."""
    return " ".join(unicodedata.normalize("NFC", name).casefold().split())


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """Settings that change what a reader returns.

    ``internal_domains`` are lower case; ``phone_region`` is an ISO country code or "" (then only numbers with a
    leading + become identifiers); ``timezone`` is the IANA zone for naive times. ``date_order`` (``dmy``, ``mdy``,
    ``ymd`` or "") decides dates that a file leaves open; ``workspace`` names the account a chat export comes from
    where the export does not; ``exclude_columns`` are labels of CRM columns, lower case, that are never read;
    ``staff`` are names or ids, as ``staff_key`` writes them, of the company's own people in chats without addresses.
    ``keep_days``: (source, days) after which its units are no longer kept.
    """

    internal_domains: frozenset[str] = frozenset()
    phone_region: str = ""
    timezone: str = "UTC"
    date_order: str = ""
    workspace: str = ""
    exclude_columns: frozenset[str] = frozenset()
    staff: frozenset[str] = frozenset()
    keep_days: tuple[tuple[str, int], ...] = ()
    max_cell_chars: int = 10_000_000
    max_message_bytes: int = 25_000_000
    max_member_bytes: int = 20_000_000_000
    max_compression_ratio: int = 200

    def is_internal(self, email: str) -> bool:
        """True for addresses of the company itself: its staff are authors, never profiles."""
        domains = self.internal_domains
        domain = email.rpartition("@")[2].lower() if domains else ""
        while domain and domain not in domains:
            domain = domain.partition(".")[2]
        return bool(domain)

    def is_staff(self, *names: str) -> bool:
        """True when the folder's settings name one of these (a display name, an id) as staff."""
        return bool(self.staff) and any(staff_key(name) in self.staff for name in names)


@dataclass(frozen=True, slots=True)
class Reader:
    """One format.

    detect: (file, first HEAD_BYTES bytes) -> whether this reader reads it. Cheap, never raises for bad content.
    read: streams the export's items, in file order. A bad unit is yielded as ``Rejected`` and reading goes on;
        raises ``UnreadableFile`` only when nothing of the export can be used.
    by_folder: files of one folder are read together, because one table names what another refers to.
    names_everybody: a record in a file names everybody whom it is about: who is not in its newest version any more is
        no longer concerned.
    version: raise it when the output changes; files read with another version are read again.
    """

    format: str
    source: Source
    detect: Callable[[SourceFile, bytes], bool]
    read: Callable[[Export, ReadOptions], Iterator[Item]]
    by_folder: bool = False
    names_everybody: bool = False
    version: int = 1
