"""Pulling: new messages of an IMAP account become documents, as those of the inbox's email folder do.

One row of ``files`` per folder says how far it was read, in ``sha256``: ``UIDVALIDITY/last UID``. It is written with
every few messages, so that an interrupted pull goes on where it stopped. When the server numbers a folder anew, or a
setting that decides what is read changed, the folder is read again from the start: documents have the ids that follow
from their Message-IDs, so none appears twice.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from imap_tools import BaseMailBox
from sqlalchemy import Engine, Row

from ingest_pipeline.changes import WHOLE, FileCounts, ReadReport, read_with, reader_name, save_trouble
from ingest_pipeline.documents import Source
from ingest_pipeline.reading import Progress, save_batch
from ingest_pipeline.sources import eml
from ingest_pipeline.sources.base import ReadOptions
from ingest_pipeline.sources.imap import Folder, fetch_after, look_at, open_account
from ingest_pipeline.sources.imap_account import ImapAccount
from ingest_pipeline.sources.signatures import Once
from ingest_pipeline.store.files import begin_files, drop_rejections, file_id, load_file, save_files

FORMAT = "imap"


@dataclass(slots=True)
class _Pull:
    """One folder while it is pulled. All messages up to ``uid`` are stored."""

    name: str
    validity: int
    uid: int
    read_with: str
    counts: FileCounts

    def row(self, run_id: str | None) -> dict[str, Any]:
        return {
            "id": file_id(self.name),
            "name": self.name,
            "source": Source.EMAIL.value,
            "format": FORMAT,
            "size": 0,
            "mtime": 0.0,
            "sha256": f"{self.validity}/{self.uid}",
            "read_with": self.read_with,
            "counts": self.counts.to_json(),
            "read_at": datetime.now(UTC),
            "run_id": run_id,
        }


def pull_mail(
    engine: Engine,
    account: ImapAccount,
    options: ReadOptions,
    report: ReadReport,
    run_id: str | None = None,
    progress: Progress = lambda _name, _units: None,
) -> None:
    """Read what is new in the account's folders and add it to ``report``.

    A lost connection is a rejection of the folder at hand, and the next run goes on from there. Raises
    ConfigurationError when the server refuses the login or has no such folder.
    """
    name = account.file_name(account.folders[0])
    try:
        with open_account(account) as box:
            for folder in account.folders:
                name = account.file_name(folder)
                _pull_folder(engine, box, folder, name, options, report, run_id, progress)
    except OSError as error:
        _know(engine, name, run_id)
        save_trouble(engine, name, error, report, run_id)


def _pull_folder(
    engine: Engine,
    box: BaseMailBox,
    folder: str,
    name: str,
    options: ReadOptions,
    report: ReadReport,
    run_id: str | None,
    progress: Progress,
) -> None:
    there = look_at(box, folder)
    known = load_file(engine, name)
    pull = _continued(name, there, known, read_with(eml.READER, options))
    pull.counts.reader = reader_name(eml.READER)
    if pull.uid == 0:
        begin_files(engine, [pull.row(run_id)])
    else:
        drop_rejections(engine, name, WHOLE)
    if pull.uid and 0 < there.next_uid <= pull.uid + 1:
        report.unchanged += 1
        return
    report.files += 1
    signatures = Once()
    for fetched in fetch_after(box, folder, pull.uid, name, options, datetime.now(UTC)):
        items = list(filter(signatures.lets_pass, fetched.items))
        if items:
            save_batch(engine, Source.EMAIL, items, {name: pull.counts}, report, run_id, options)
        pull.uid = fetched.uid
        save_files(engine, [pull.row(run_id)])
        progress(name, len(fetched.items))
    # No message that comes later gets a number below the one that was promised before.
    pull.uid = max(pull.uid, there.next_uid - 1)
    save_files(engine, [pull.row(run_id)])


def _continued(name: str, there: Folder, known: Row[Any] | None, version: str) -> _Pull:
    """Where to go on: behind the last message; at the start of a folder that is new, renumbered, read otherwise."""
    validity, _, uid = (known.sha256 or "").partition("/") if known is not None else ("", "", "")
    if known is None or known.read_with != version or validity != str(there.validity):
        return _Pull(name, there.validity, 0, version, FileCounts())
    return _Pull(name, there.validity, int(uid), version, FileCounts.from_json(known.counts))


def _know(engine: Engine, name: str, run_id: str | None) -> None:
    """A rejection refers to a file that is known; one that never was reached is read from its start."""
    if load_file(engine, name) is None:
        begin_files(engine, [_Pull(name, 0, 0, "", FileCounts()).row(run_id)])
