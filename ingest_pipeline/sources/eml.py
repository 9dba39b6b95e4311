"""Reads files that hold one mail: ``.eml`` and the messages of a Maildir, whose files have no suffix."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import PurePosixPath

from ingest_pipeline.documents import Item, Rejected, Skipped, Source
from ingest_pipeline.sources.base import Export, Reader, ReadOptions, SourceFile
from ingest_pipeline.sources.mail import Location, read_mail

_FIELD = re.compile(rb"([A-Za-z][A-Za-z0-9-]{0,60}):[^\n]*\n(?:[ \t]+\S[^\n]*\n)*")
_START = re.compile(rb"(?:\xef\xbb\xbf)?(?:\r?\n)*(?:>?From [^\n]*\n)?")
_MAIL_FIELDS = frozenset(
    (b"from", b"to", b"date", b"subject", b"received", b"return-path", b"message-id", b"mime-version", b"delivered-to")
)


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


def _folder(file: SourceFile) -> str:
    return PurePosixPath(file.name).parent.name


def _detect(file: SourceFile, head: bytes) -> bool:
    if file.name.lower().endswith((".eml", ".emlx")):
        return file.name.lower().endswith(".eml")
    in_maildir = _folder(file) in {"cur", "new", "tmp"}
    return _is_mail(head, 1 if in_maildir else 3)


def _read(export: Export, options: ReadOptions) -> Iterator[Item]:
    now = datetime.now(UTC)
    for file in export.files:
        if _folder(file) == "tmp" and not file.name.lower().endswith(".eml"):
            # Maildir: a message in tmp is still being delivered, and will appear in new.
            yield Skipped(file.name, "maildir_tmp")
            continue
        with file.opener() as stream:
            data = stream.read(options.max_message_bytes + 1)
        if len(data) > options.max_message_bytes:
            yield Rejected(file.name, "byte 0", f"the message is larger than {options.max_message_bytes} bytes")
        elif not data.strip():
            yield Skipped(file.name, "empty")
        else:
            yield from read_mail(data, Location(file.name, "byte 0"), options, now)


READER = Reader(format="eml", source=Source.EMAIL, detect=_detect, read=_read, version=2)
