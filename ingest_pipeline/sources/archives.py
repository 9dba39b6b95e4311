"""Safe access to zip exports: members are streamed within limits and never written to disk.

An archive that breaks a rule is refused as a whole, with its reason, and the other files go on. Rules: no member
outside the archive (``../``, absolute, drive letter), no symbolic link or other special file, no two members of one
name, stored or deflated only (bzip2 and LZMA can inflate one 4 KB read to hundreds of megabytes), not encrypted, at
most MAX_MEMBERS members, each at most ``max_member_bytes``, member and archive inflating at most
``max_compression_ratio`` times.
"""

import errno
import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, BinaryIO, Protocol

from ingest_pipeline.errors import UnreadableFile
from ingest_pipeline.sources.base import ReadOptions, SourceFile

ZIP_MAGIC = b"PK\x03\x04"

MAX_MEMBERS = 500_000
"""A Slack workspace has one member per channel and day: 500 channels over 3 years."""

RATIO_FREE_BYTES = 1_000_000
"""Below this inflated size the ratio is not looked at: a small repetitive table is harmless and may pass 200:1."""

_BUFFER = 65_536
_ENCRYPTED = 0x1 | 0x40
_READABLE = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_BAD_STRUCTURE = (zipfile.BadZipFile, struct.error, ValueError, NotImplementedError, EOFError, zlib.error)


class Archive(Protocol):
    """The regular members of one zip."""

    def names(self) -> list[str]:
        """Paths of the regular members, in archive order; directories and ``__MACOSX/`` are left out."""

    def size(self, name: str) -> int:
        """The member's declared size in bytes, inflated."""

    def open(self, name: str) -> BinaryIO:
        """A stream of the member, not seekable. Opening and reading raise UnreadableFile past the limits."""


class _Zip:
    def __init__(self, file: SourceFile, archive: zipfile.ZipFile, options: ReadOptions) -> None:
        self._file = file
        self._archive = archive
        self._members = _safe_members(file, archive.infolist(), options)

    def names(self) -> list[str]:
        return list(self._members)

    def size(self, name: str) -> int:
        return self._members[name].file_size

    def open(self, name: str) -> BinaryIO:
        info = self._members[name]
        with _structure_checked(self._file):
            member = self._archive.open(info)
        return io.BufferedReader(_Member(self._file, member), _BUFFER)


class _Member(io.RawIOBase):
    """A member's bytes. ``zipfile`` itself never gives more than the declared size, which was checked."""

    def __init__(self, file: SourceFile, member: IO[bytes]) -> None:
        self._file = file
        self._member = member

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed: WriteableBuffer
        with _structure_checked(self._file):
            data = self._member.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        with _structure_checked(self._file):
            return self._member.read()

    def close(self) -> None:
        self._member.close()
        super().close()


@contextmanager
def open_zip(file: SourceFile, options: ReadOptions) -> Iterator[Archive]:
    """Open a zip whose members all keep the rules above.

    Raises UnreadableFile, naming the rule and never a member, when one does not or the file is no whole zip.
    """
    with file.opener() as stream:
        with _structure_checked(file):
            archive = zipfile.ZipFile(stream)
        with archive:
            yield _Zip(file, archive, options)


@contextmanager
def _structure_checked(file: SourceFile) -> Iterator[None]:
    """Everything that ``zipfile`` raises for a damaged archive, as one error."""
    try:
        yield
    except _BAD_STRUCTURE as error:
        raise UnreadableFile(f"{file.name}: the zip is damaged or cut off ({type(error).__name__})") from error
    except OSError as error:
        # A damaged offset makes zipfile seek before the start; any other failure is the storage's, not the archive's.
        if error.errno != errno.EINVAL:
            raise
        raise UnreadableFile(f"{file.name}: the zip is damaged or cut off (bad offset)") from error


def _safe_members(file: SourceFile, infos: list[zipfile.ZipInfo], options: ReadOptions) -> dict[str, zipfile.ZipInfo]:
    if len(infos) > MAX_MEMBERS:
        raise UnreadableFile(f"{file.name}: the zip holds {len(infos)} members, more than {MAX_MEMBERS}")
    seen: set[str] = set()
    members: dict[str, zipfile.ZipInfo] = {}
    for position, info in enumerate(infos, start=1):
        reason = _unsafe(info, options) or ("has the name of another" if info.filename in seen else None)
        if reason is not None:
            raise UnreadableFile(f"{file.name}: refused, member {position} of the zip {reason}")
        seen.add(info.filename)
        if not info.is_dir() and not _is_system(info.filename):
            members[info.filename] = info
    if _inflates_too_much(sum(info.file_size for info in infos), file.size, options):
        raise UnreadableFile(f"{file.name}: refused, the zip inflates over {options.max_compression_ratio} times")
    return members


def _unsafe(info: zipfile.ZipInfo, options: ReadOptions) -> str | None:
    name = info.filename.replace("\\", "/")
    mode = info.external_attr >> 16
    if name.startswith("/") or name[1:2] == ":" or ".." in name.split("/"):
        return "points outside the archive"
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or special file"
    if info.flag_bits & _ENCRYPTED:
        return "is encrypted"
    if info.compress_type not in _READABLE:
        return "is compressed in a way other than deflate"
    if info.file_size > options.max_member_bytes:
        return f"is larger than {options.max_member_bytes} bytes"
    if _inflates_too_much(info.file_size, info.compress_size, options):
        return f"inflates over {options.max_compression_ratio} times"
    return None


def _inflates_too_much(inflated: int, compressed: int, options: ReadOptions) -> bool:
    return inflated > RATIO_FREE_BYTES and inflated > compressed * options.max_compression_ratio


def _is_system(name: str) -> bool:
    return name.startswith("__MACOSX/") or name.rpartition("/")[2] in {".DS_Store", "Thumbs.db", "desktop.ini"}
