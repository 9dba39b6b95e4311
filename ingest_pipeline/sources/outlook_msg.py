"""Reads ``.msg``: one message of Outlook in an OLE compound file ([MS-OXMSG]).

String and binary properties are streams named by number and type, the others stand in a table of 16-byte entries.
"""

import io
import struct
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from ingest_pipeline.documents import Item, Rejected, Source
from ingest_pipeline.errors import UnreadableFile
from ingest_pipeline.sources import outlook
from ingest_pipeline.sources.base import Export, Reader, ReadOptions, SourceFile
from ingest_pipeline.sources.charsets import decode_text
from ingest_pipeline.sources.eml import read_at_most
from ingest_pipeline.sources.mail import Location
from ingest_pipeline.sources.outlook import OutlookMessage, outlook_items

OLE_MAGIC = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
LIBRARY = "olefile"

_PROPERTIES = "__properties_version1.0"
_HEADER_BYTES = 32
_ENTRY = struct.Struct("<HHIq")
_STRING8, _UNICODE, _BINARY = 0x001E, 0x001F, 0x0102
_CODEPAGE, _INTERNET_CODEPAGE = 0x3FFD, 0x3FDE
_SUBMITTED, _DELIVERED = 0x0039, 0x0E06
_FILETIME_EPOCH = datetime(1601, 1, 1, tzinfo=UTC)


def _detect(file: SourceFile, head: bytes) -> bool:
    return head.startswith(OLE_MAGIC) and (
        file.name.lower().endswith(".msg") or _PROPERTIES.encode("utf-16-le") in head
    )


def _read(export: Export, options: ReadOptions) -> Iterator[Item]:
    now = datetime.now(UTC)
    for file in export.files:
        outlook.require(LIBRARY, file)
        location = Location(file.name, "byte 0")
        with file.opener() as stream:
            # A message's attachments are in the file, but only its properties are read.
            data = read_at_most(stream, 4 * options.max_message_bytes + 1)
        if len(data) > 4 * options.max_message_bytes:
            yield Rejected(file.name, "byte 0", f"the message is larger than {4 * options.max_message_bytes} bytes")
        else:
            yield from outlook_items(_message(file, data, options), location, options, now)


def _message(file: SourceFile, data: bytes, options: ReadOptions) -> OutlookMessage:
    import olefile

    try:
        with olefile.OleFileIO(io.BytesIO(data)) as ole:
            return _Properties(ole, options.max_message_bytes).message()
    # What olefile raises for a damaged structure; it reads from memory, so that no OSError is the storage's.
    except (
        OSError,
        ValueError,
        TypeError,
        IndexError,
        KeyError,
        AttributeError,
        struct.error,
        RecursionError,
    ) as error:
        raise UnreadableFile(f"{file.name}: the .msg is damaged ({type(error).__name__})") from error


class _Properties:
    """The properties of the message itself; those of recipients and attachments are in folders of their own."""

    def __init__(self, ole: Any, max_bytes: int) -> None:
        self._ole = ole
        self._max_bytes = max_bytes
        table = self._stream(_PROPERTIES)[_HEADER_BYTES:]
        whole = len(table) - len(table) % _ENTRY.size
        self._fixed = {number: value for _, number, _, value in _ENTRY.iter_unpack(table[:whole])}

    def message(self) -> OutlookMessage:
        return OutlookMessage(
            text={number: self._text(number) for number in outlook.TEXTS},
            sent=self._time(_SUBMITTED) or self._time(_DELIVERED),
            flags=self._fixed.get(outlook.FLAGS, 0) & 0xFFFFFFFF,
            body=self._text(outlook.BODY),
            html=self._html(),
            has_rtf=self._ole.exists(_name(outlook.RTF, _BINARY)),
        )

    def _stream(self, name: str) -> bytes:
        if not self._ole.exists(name) or self._ole.get_size(name) > self._max_bytes:
            return b""
        return bytes(self._ole.openstream(name).read())

    def _text(self, number: int) -> str:
        wide = self._stream(_name(number, _UNICODE))
        if wide:
            return decode_text(wide, "utf-16-le")[0]
        return decode_text(self._stream(_name(number, _STRING8)), self._charset(_CODEPAGE))[0]

    def _html(self) -> str:
        raw = self._stream(_name(outlook.HTML, _BINARY))
        return decode_text(raw, self._charset(_INTERNET_CODEPAGE))[0] if raw else self._text(outlook.HTML)

    def _charset(self, number: int) -> str:
        page = self._fixed.get(number, 0) & 0xFFFFFFFF
        names = {65001: "utf-8", 20127: "ascii", 28591: "iso-8859-1", 50220: "iso-2022-jp", 1200: "utf-16-le"}
        return names.get(page, f"cp{page}" if page else "")

    def _time(self, number: int) -> datetime | None:
        """A FILETIME: tenths of microseconds since 1601."""
        ticks = self._fixed.get(number, 0)
        try:
            return _FILETIME_EPOCH + timedelta(microseconds=ticks // 10) if ticks > 0 else None
        except OverflowError:
            return None


def _name(number: int, kind: int) -> str:
    return f"__substg1.0_{number:04X}{kind:04X}"


READER = Reader(
    format="msg", source=Source.EMAIL, detect=_detect, read=_read, version=outlook.reader_version(1, LIBRARY)
)
