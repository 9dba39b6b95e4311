"""Reads files that hold one mail: ``.eml`` and the messages of a Maildir, whose files have no suffix."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import BinaryIO

from ingest_pipeline.documents import Item, Rejected, Skipped, Source
from ingest_pipeline.sources.base import Export, Reader, ReadOptions, SourceFile
from ingest_pipeline.sources.mail import Location, read_mail

_FIELD = re.compile(rb"([A-Za-z][A-Za-z0-9-]{0,60}):[^\n]*\n(?:[ \t]+\S[^\n]*\n)*")
_START = re.compile(rb"(?:\xef\xbb\xbf)?(?:\r?\n)*(?:>?From [^\n]*\n)?")
_MAIL_FIELDS = frozenset(
    (b"from", b"to", b"date", b"subject", b"received", b"return-path", b"message-id", b"mime-version", b"delivered-to")
)

_USUAL_BYTES, _MORE_BYTES = 65_536, 1_000_000
_MAILDIR_FOLDERS = frozenset({"cur", "new", "tmp"})


def _is_mail(head: bytes, fields: int) -> bool:
    """True when the file begins with header fields, at least ``fields`` of which every mail has."""
    start = _START.match(head)
    position = start.end() if start is not None else 0
    known: set[bytes] = set()
    for _ in range(100):
        match = _FIELD.match(head, position)
        if match is None:
            break
        known.add(match[1].lower())
        position = match.end()
        if len(known & _MAIL_FIELDS) >= fields:
            return True
    return False


def in_maildir(name: str) -> bool:
    """True for a message of a Maildir: what its folders hold, unless it is a whole mailbox."""
    if name.rpartition("/")[0].rpartition("/")[2] not in _MAILDIR_FOLDERS:
        return False
    path = PurePosixPath(name)
    return path.parent.name in _MAILDIR_FOLDERS and path.suffix.lower() not in {".mbox", ".mboxrd", ".mbx", ".zip"}


def is_undelivered(name: str) -> bool:
    """Maildir: a message in ``tmp`` is still being delivered, and will appear in ``new``."""
    return in_maildir(name) and PurePosixPath(name).parent.name == "tmp" and not name.lower().endswith(".eml")


def _detect(file: SourceFile, head: bytes) -> bool:
    if file.name.lower().endswith((".eml", ".emlx")):
        return file.name.lower().endswith(".eml")
    return _is_mail(head, 1 if in_maildir(file.name) else 3)


def _read(export: Export, options: ReadOptions) -> Iterator[Item]:
    now = datetime.now(UTC)
    for file in export.files:
        if is_undelivered(file.name):
            yield Skipped(file.name, "maildir_tmp")
            continue
        with file.opener() as stream:
            yield from read_eml(stream, file.name, "byte 0", options, now)


def read_at_most(stream: BinaryIO, limit: int) -> bytes:
    """The stream's first bytes. Asked for at once, they would take the largest mail's memory for each small one."""
    parts: list[bytes] = []
    size = _USUAL_BYTES
    while limit > 0 and (part := stream.read(min(limit, size))):
        parts.append(part)
        limit -= len(part)
        size = _MORE_BYTES
    return b"".join(parts)


def read_eml(stream: BinaryIO, name: str, position: str, options: ReadOptions, now: datetime) -> tuple[Item, ...]:
    """The items of the one mail in a stream, of which no more than the cap is read."""
    data = read_at_most(stream, options.max_message_bytes + 1)
    if len(data) > options.max_message_bytes:
        return (Rejected(name, position, f"the message is larger than {options.max_message_bytes} bytes"),)
    if not data.strip():
        return (Skipped(name, "empty"),)
    return read_mail(data, Location(name, position), options, now)


READER = Reader(format="eml", source=Source.EMAIL, detect=_detect, read=_read, version=2)
