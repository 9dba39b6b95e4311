"""Reads mbox files, Gmail Takeout's among them, one message in memory at a time.

The standard library's ``mailbox`` splits at every line that begins with ``From ``, also in the middle of a mail. Here a
message begins at the start of the file, or after a blank line, with ``From ``, an address and a date.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import BinaryIO

from ingest_pipeline.documents import Item, Json, Rejected, Source
from ingest_pipeline.errors import UnreadableFile
from ingest_pipeline.sources.base import Export, Reader, ReadOptions, SourceFile
from ingest_pipeline.sources.mail import Location, read_mail
from ingest_pipeline.sources.signatures import once

CHUNK_BYTES = 1 << 20
MAX_FROM_LINE = 1_000

# As nearly all are written; the other pattern is slow.
_PLAIN_FROM_LINE = re.compile(
    rb"From \S+ +(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d(?: [+-]\d{4})? \d{4}\r?\n"
)
_FROM_LINE = re.compile(
    rb"From [^\n]{0,600}?\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)\b[^\n]{1,40}?\d{1,2}:\d{2}[^\n]{0,30}?\d{4}"
    rb"(?:[^\n\d+-]{0,10}[+-]\d{4})?[^\n\d]{0,10}\n"
)
_BEFORE_FIRST = re.compile(rb"(?:\xef\xbb\xbf)?(?:[ \t]*\r?\n){0,20}")
_ESCAPED = re.compile(rb"\n>From ")


@dataclass(frozen=True, slots=True)
class RawMessage:
    """``data`` begins with the From-line; it is None when the message is larger than the cap. ``offset`` in bytes."""

    offset: int
    data: bytes | None


def split_mbox(stream: BinaryIO, max_bytes: int) -> Iterator[RawMessage]:
    """The messages of an mbox in file order; none when the stream is no mbox. Holds ``max_bytes`` and two chunks."""
    buffer = stream.read(CHUNK_BYTES)
    offset = base = _first_message(buffer)
    if offset < 0:
        return
    buffer = buffer[base:]
    searched = 0
    too_large = False
    while True:
        start = 0
        found = _next_message(buffer, searched)
        while found >= 0:
            yield RawMessage(offset, None if too_large or found - start > max_bytes else buffer[start:found])
            offset, start, too_large = base + found, found, False
            found = _next_message(buffer, start)
        too_large = too_large or len(buffer) - start > max_bytes
        # A From-line may be cut by the chunk's end, so that many bytes are looked at again.
        kept = max(start, len(buffer) - MAX_FROM_LINE)
        dropped = kept if too_large else start
        buffer, base, searched = buffer[dropped:], base + dropped, kept - dropped
        chunk = stream.read(CHUNK_BYTES)
        if not chunk:
            break
        buffer += chunk
    yield RawMessage(offset, None if too_large else buffer)


def _first_message(head: bytes) -> int:
    match = _BEFORE_FIRST.match(head)
    start = match.end() if match is not None else 0
    return start if _FROM_LINE.match(head, start) else -1


def _next_message(buffer: bytes, searched: int) -> int:
    """Where the next From-line below a blank line begins, or -1."""
    found = buffer.find(b"\nFrom ", searched)
    while found >= 0:
        below_blank = buffer[max(0, found - 1) : found] == b"\n" or buffer[max(0, found - 2) : found] == b"\n\r"
        if below_blank and (_PLAIN_FROM_LINE.match(buffer, found + 1) or _FROM_LINE.match(buffer, found + 1)):
            return found + 1
        found = buffer.find(b"\nFrom ", found + 1)
    return -1


def unescaped(data: bytes) -> bytes:
    """The message without the ``>`` that mbox writers put before ``From ``.

    No mbox says which flavour it is. mboxrd and mboxo both write a body line ``From …`` as ``>From …``; a quoted line
    of that form stands among other quoted lines and keeps its mark, as does ``>>From``, quoted in every flavour.
    """
    if b"\n>From " not in data:
        return data
    return _ESCAPED.sub(lambda match: match[0] if _among_quoted(data, match.start()) else b"\nFrom ", data)


def _among_quoted(data: bytes, newline: int) -> bool:
    previous = data.rfind(b"\n", 0, newline) + 1
    following = data.find(b"\n", newline + 1) + 1
    above = data[previous : previous + 6]
    below = data[following : following + 6] if following else b""
    return any(line.startswith(b">") and line != b">From " for line in (above, below))


def _detect(file: SourceFile, head: bytes) -> bool:
    return _first_message(head) >= 0 or (file.name.lower().endswith((".mbox", ".mboxrd")) and head.startswith(b"From "))


def _read(export: Export, options: ReadOptions) -> Iterator[Item]:
    for file in export.files:
        empty = True
        with file.opener() as stream:
            for item in once(read_mbox(stream, file.name, options)):
                empty = False
                yield item
        if empty:
            raise UnreadableFile(f"{file.name}: no line of the form 'From <address> <date>' begins this mailbox")


def read_mbox(stream: BinaryIO, name: str, options: ReadOptions, member: str = "") -> Iterator[Item]:
    """The items of an mbox, ``member`` of the archive ``name`` or ``name`` itself; none when it is no mbox."""
    now = datetime.now(UTC)
    place = f"{member}, " if member else ""
    for raw in split_mbox(stream, options.max_message_bytes):
        position = f"{place}byte {raw.offset}"
        if raw.data is None:
            yield Rejected(name, position, f"the message is larger than {options.max_message_bytes} bytes")
            continue
        envelope, _, message = raw.data.partition(b"\n")
        metadata: dict[str, Json] = {"offset": raw.offset, **({"member": member} if member else {})}
        yield from read_mail(unescaped(message), Location(name, position, envelope, metadata=metadata), options, now)


READER = Reader(format="mbox", source=Source.EMAIL, detect=_detect, read=_read, version=2)
