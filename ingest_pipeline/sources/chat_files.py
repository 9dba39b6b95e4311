"""Chat exports as people have them: a file, or a zip with the file, its media and other files inside."""

import json
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, TypeVar

from ingest_pipeline.documents import Item, Json, Rejected, Skipped
from ingest_pipeline.errors import UnreadableFile
from ingest_pipeline.sources.archives import ZIP_MAGIC, open_zip
from ingest_pipeline.sources.base import HEAD_BYTES, Export, ReadOptions, SourceFile
from ingest_pipeline.sources.conversation import Turn
from ingest_pipeline.sources.json_stream import Broken, JsonCursor

Message = TypeVar("Message")

MEMBERS_LOOKED_AT = 50
"""Of a zip, when asked which format it is; those that the format usually has go first."""

_BAD_ZIP = (zipfile.BadZipFile, zipfile.LargeZipFile, ValueError, NotImplementedError, EOFError, OSError, RuntimeError)


@dataclass(frozen=True, slots=True)
class Part:
    """A text of an export: the file itself (``member`` is empty) or a member of the zip that it is."""

    file: SourceFile
    member: str
    opener: Callable[[], BinaryIO]

    def at(self, position: str) -> str:
        """A position with the member's name before it."""
        return f"{self.member}, {position}" if self.member else position

    @property
    def stem(self) -> str:
        """The file's name in the inbox without its ending, and the member's when there is one."""
        name = self.file.name.removesuffix(".zip") if self.member else self.file.name
        stem = re.sub(r"\.\w{1,5}\Z", "", name)
        return f"{stem}/{self.member}" if self.member else stem


def head_text(head: bytes) -> str:
    """The beginning of a text for looking at: whatever cannot be decoded is left out."""
    return head.decode(json.detect_encoding(head[:4]), "ignore") if head else ""


def looks_like(
    file: SourceFile, head: bytes, suffix: str, likely: re.Pattern[str], test: Callable[[str], bool]
) -> bool:
    """Whether the file, or a member with this suffix of the zip that it is, begins as ``test`` wants. Never raises."""
    if not head.startswith(ZIP_MAGIC):
        return test(head_text(head))
    try:
        with file.opener() as stream, zipfile.ZipFile(stream) as archive:
            names = [name for name in archive.namelist() if name.lower().endswith(suffix) and "__MACOSX/" not in name]
            names.sort(key=lambda name: (likely.search(name) is None, name.count("/"), name))
            for name in names[:MEMBERS_LOOKED_AT]:
                with archive.open(name) as member:
                    if test(head_text(member.read(HEAD_BYTES))):
                        return True
    except (*_BAD_ZIP, zlib.error):
        return False
    return False


@contextmanager
def open_parts(file: SourceFile, suffix: str, options: ReadOptions) -> Iterator[list[Part]]:
    """The file itself, or the members with this suffix of the zip that it is. Raises UnreadableFile for a bad zip."""
    with file.opener() as stream:
        is_zip = stream.read(len(ZIP_MAGIC)) == ZIP_MAGIC
    if not is_zip:
        yield [Part(file, "", file.opener)]
        return
    with open_zip(file, options) as archive:
        names = sorted(name for name in archive.names() if name.lower().endswith(suffix))
        yield [Part(file, name, _member_opener(archive.open, name)) for name in names]


def _member_opener(opener: Callable[[str], BinaryIO], name: str) -> Callable[[], BinaryIO]:
    return lambda: opener(name)


def part_head(part: Part) -> str:
    """The beginning of a part, for finding out what it is."""
    with part.opener() as stream:
        return head_text(stream.read(HEAD_BYTES))


def sorted_parts(
    parts: Iterable[Part], about: re.Pattern[str], chats: re.Pattern[str]
) -> tuple[list[Part], list[Part]]:
    """Those that begin as the lists of people do, and those that hold messages; a lone file holds either."""
    heads = [(part, part_head(part)) for part in parts]
    lists = [part for part, head in heads if about.search(head)]
    return lists, [part for part, head in heads if part not in lists and (not part.member or chats.search(head))]


def turns_of(
    part: Part,
    where: str,
    messages: Iterable[Message | Broken],
    turn_of: Callable[[Message, int], Turn | str],
    skipped: Counter[str],
) -> Iterator[Turn | Rejected]:
    """The turns that messages make; ``turn_of`` gets each with its number and says why one makes none."""
    for number, message in enumerate(messages, start=1):
        if isinstance(message, Broken):
            yield Rejected(part.file.name, f"{where} {number}", message.reason)
            continue
        found = turn_of(message, number)
        if isinstance(found, str):
            skipped[found] += 1
        else:
            yield found


def guarded(part: Part, items: Iterable[Item]) -> Iterator[Item]:
    """The items of one part. A damaged member is rejected alone; a damaged file is for the caller."""
    try:
        yield from items
    except UnreadableFile as error:
        if not part.member:
            raise
        yield Rejected(part.file.name, part.member, str(error).removeprefix(f"{part.file.name}: "))


def problem_of(cursor: JsonCursor, part: Part) -> Iterator[Rejected]:
    """Why a JSON text could not be read to its end, if it could not."""
    if cursor.problem:
        yield Rejected(part.file.name, part.at(f"character {cursor.position}"), cursor.problem)


def counted(file: SourceFile, skipped: Counter[str]) -> Iterator[Skipped]:
    """What was left out of a file, by reason."""
    for reason, units in sorted(skipped.items()):
        if units:
            yield Skipped(file.name, reason, units)


def read_json_parts(
    export: Export,
    options: ReadOptions,
    is_format: Callable[[str], bool],
    read_part: Callable[[Part, ReadOptions, Counter[str]], Iterator[Item]],
) -> Iterator[Item]:
    """The items of a JSON file, or of those members of a zip that begin like the format; what was left out last."""
    for file in export.files:
        skipped: Counter[str] = Counter()
        with open_parts(file, ".json", options) as parts:
            usable = [part for part in parts if not part.member or is_format(part_head(part))]
            if not usable:
                raise UnreadableFile(f"{file.name}: no file in this zip is of the format {export.format}")
            for part in usable:
                yield from guarded(part, read_part(part, options, skipped))
        yield from counted(file, skipped)


def id_text(value: Json) -> str:
    """An id that is a text or a whole number, as text; empty for anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value.strip() if isinstance(value, str) else ""
