"""Reads zips of mail: Gmail's Takeout (``Takeout/Mail/*.mbox``), zipped mailboxes, folders of ``.eml``, Maildirs.

Members are streamed. A broken one is rejected with its name; the others go on.
"""

from collections.abc import Iterator
from datetime import UTC, datetime

from ingest_pipeline.documents import Item, Rejected, Skipped, Source
from ingest_pipeline.errors import UnreadableFile
from ingest_pipeline.sources.archives import ZIP_MAGIC, Archive, open_zip
from ingest_pipeline.sources.base import Export, Reader, ReadOptions, SourceFile
from ingest_pipeline.sources.eml import in_maildir, is_undelivered, read_eml
from ingest_pipeline.sources.mbox import read_mbox
from ingest_pipeline.sources.signatures import once

_MAILBOXES = (".mbox", ".mboxrd", ".mbx")


def _detect(file: SourceFile, head: bytes) -> bool:
    """A zip that holds mail, or that cannot be opened: reading it says why."""
    if not head.startswith(ZIP_MAGIC):
        return False
    try:
        with open_zip(file, ReadOptions()) as archive:
            return any(_is_mailbox(name) or _is_single(name) for name in archive.names())
    except UnreadableFile:
        return True


def _is_mailbox(name: str) -> bool:
    return name.lower().endswith(_MAILBOXES)


def _is_single(name: str) -> bool:
    return name.lower().endswith(".eml") or in_maildir(name)


def _read(export: Export, options: ReadOptions) -> Iterator[Item]:
    for file in export.files:
        with open_zip(file, options) as archive:
            yield from once(_archive_items(file, archive, options))


def _archive_items(file: SourceFile, archive: Archive, options: ReadOptions) -> Iterator[Item]:
    names = archive.names()
    mailboxes = [name for name in names if _is_mailbox(name)]
    single = [name for name in names if _is_single(name)]
    if not mailboxes and not single:
        raise UnreadableFile(f"{file.name}: no mailbox (.mbox), .eml or Maildir in this zip")
    for member in mailboxes:
        yield from _guarded(file, member, _mailbox(file, archive, member, options))
    for member in single:
        yield from _guarded(file, member, _single(file, archive, member, options))
    if other := len(names) - len(mailboxes) - len(single):
        yield Skipped(file.name, "not_mail", other)


def _mailbox(file: SourceFile, archive: Archive, member: str, options: ReadOptions) -> Iterator[Item]:
    if not archive.size(member):
        yield Skipped(file.name, "empty")
        return
    found = False
    with archive.open(member) as stream:
        for item in read_mbox(stream, file.name, options, member):
            found = True
            yield item
    if not found:
        yield Rejected(file.name, member, "no line of the form 'From <address> <date>' begins this mailbox")


def _single(file: SourceFile, archive: Archive, member: str, options: ReadOptions) -> Iterator[Item]:
    if is_undelivered(member):
        yield Skipped(file.name, "maildir_tmp")
        return
    with archive.open(member) as stream:
        yield from read_eml(stream, file.name, member, options, datetime.now(UTC))


def _guarded(file: SourceFile, member: str, items: Iterator[Item]) -> Iterator[Item]:
    try:
        yield from items
    except UnreadableFile:
        yield Rejected(file.name, member, "this member of the zip is damaged")


READER = Reader(format="mail_zip", source=Source.EMAIL, detect=_detect, read=_read)
