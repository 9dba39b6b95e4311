"""Reading the inbox: only what changed is opened, only what is new is parsed, and what is broken stops nothing."""

import csv
import io
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from sqlalchemy import Engine

from ingest_pipeline import reading
from ingest_pipeline.changes import ReadReport, read_with, registry_version
from ingest_pipeline.documents import Rejected, Skipped, Source
from ingest_pipeline.reading import BATCH_CHARS, BATCH_RECORDS, read_source
from ingest_pipeline.sources import registry
from ingest_pipeline.sources.base import ReadOptions, SourceFile
from ingest_pipeline.sources.inbox import Inbox
from ingest_pipeline.store.documents import Saved
from ingest_pipeline.store.files import begin_files
from ingest_pipeline.store.tables import DocumentRow, FileRow, Rejection
from tests.builders import record, rows

MAIL = """From alex@acme.example Mon Jan  1 10:00:00 2024
From: Alex <alex@acme.example>
Date: Mon, 01 Jan 2024 10:00:00 +0000
Message-ID: <{n}@acme.example>

{text}

"""


def mbox(*texts: str) -> bytes:
    return "".join(MAIL.format(n=n, text=text) for n, text in enumerate(texts)).encode()


def table(*lines: dict[str, str]) -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(lines[0]))
    writer.writeheader()
    writer.writerows(lines)
    return out.getvalue().encode()


def contact(number: int, **cells: str) -> dict[str, str]:
    native = f"003A00000{number:06d}"
    return {
        "Id": native,
        "FirstName": "Kim",
        "LastName": f"Number {number}",
        "Email": f"kim{number}@x.example",
        "CreatedById": "",
        "SystemModstamp": "",
    } | cells


def task(text: str) -> dict[str, str]:
    return {
        "Id": "00TA00000000001",
        "WhoId": contact(1)["Id"],
        "Description": text,
        "CreatedById": "",
        "SystemModstamp": "",
    }


@dataclass(frozen=True)
class CountingInbox(Inbox):
    """Counts how often each file is opened, and fails to open those in ``broken``."""

    opened: Counter[str] = field(default_factory=Counter)
    broken: set[str] = field(default_factory=set)

    def files(self, source: Source) -> Iterator[SourceFile]:
        for file in super().files(source):
            yield replace(file, opener=lambda file=file: self._open(file))  # type: ignore[misc]

    def _open(self, file: SourceFile) -> BinaryIO:
        self.opened[file.name] += 1
        if file.name in self.broken:
            raise PermissionError(13, "Permission denied")
        return file.opener()


@dataclass
class Box:
    """An inbox in memory. Times are set by hand: a clock is too coarse to tell two writes apart."""

    engine: Engine
    fs: MemoryFileSystem
    root: str
    options: ReadOptions = ReadOptions(internal_domains=frozenset({"northwind.example"}))  # noqa: RUF009 - frozen
    broken: set[str] = field(default_factory=set)

    def put(self, name: str, content: bytes, day: int = 1) -> None:
        self.fs.pipe(f"{self.root}/{name}", content)
        entry = self.fs.store[f"{self.root}/{name}"]
        entry.created = entry.modified = datetime(2024, 1, day, tzinfo=UTC)

    def read(self, source: Source = Source.EMAIL) -> tuple[ReadReport, Counter[str]]:
        inbox = CountingInbox(self.root, self.fs, self.root, broken=self.broken)
        return read_source(self.engine, inbox, source, self.options, "run"), inbox.opened


@pytest.fixture
def box(engine: Engine, tmp_path: Path) -> Iterator[Box]:
    fs = MemoryFileSystem()
    root = f"/{tmp_path.name}-{engine.dialect.name}"
    yield Box(engine, fs, root)
    fs.rm(root, recursive=True)


def texts(engine: Engine) -> list[str]:
    return sorted(row.text for row in rows(engine, DocumentRow) if not row.superseded_at)


def rejected(engine: Engine) -> list[tuple[str, str]]:
    names = {row.id: row.name for row in rows(engine, FileRow)}
    return sorted((names[row.file_id], row.position) for row in rows(engine, Rejection))


def test_an_unchanged_file_is_not_even_opened(box: Box) -> None:
    box.put("email/a.mbox", mbox("I live in Lisbon.", "I like tea."))
    first, opened = box.read()
    assert (first.files, first.unchanged, first.saved) == (1, 0, Saved(new=2))
    assert opened["email/a.mbox"] >= 1
    second, opened = box.read()
    assert (second.files, second.unchanged, second.saved) == (0, 1, Saved())
    assert not opened


def test_a_touched_file_is_hashed_and_not_parsed(box: Box) -> None:
    box.put("email/a.mbox", mbox("I live in Lisbon."))
    box.read()
    box.put("email/a.mbox", mbox("I live in Lisbon."), day=2)
    report, opened = box.read()
    assert (report.files, report.unchanged, opened["email/a.mbox"]) == (0, 1, 1)
    assert not box.read()[1], "its new time is known now"


def test_a_changed_file_is_read_and_only_what_is_new_is_stored(box: Box) -> None:
    box.put("email/a.mbox", mbox("I live in Lisbon."))
    box.read()
    box.put("email/a.mbox", mbox("I live in Lisbon.", "I like tea."), day=2)
    report, _ = box.read()
    assert (report.files, report.saved) == (1, Saved(new=1, unchanged=1))
    assert len(texts(box.engine)) == 2


def test_a_message_that_moves_through_a_maildir_is_read_once(box: Box) -> None:
    """Its program renames it when it was seen, answered, flagged: still the same file, not opened again."""
    message = mbox("I live in Lisbon.").partition(b"\n")[2]
    box.put("email/box/new/17.M1.host", message)
    assert box.read()[0].saved == Saved(new=1)
    for name in ("17.M1.host:2,", "17.M1.host:2,S", "17.M1.host:2,RS"):
        box.fs.rm(f"{box.root}/email", recursive=True)
        box.put(f"email/box/cur/{name}", message)
        report, opened = box.read()
        assert (report.files, report.unchanged, opened) == (0, 1, Counter())
    assert [row.name for row in rows(box.engine, FileRow)] == ["email/box/cur/17.M1.host"]


def test_a_change_of_the_same_size_is_noticed_by_its_time(box: Box) -> None:
    box.put("email/a.mbox", mbox("I live in Lisbon."))
    box.read()
    box.put("email/a.mbox", mbox("I live in London."), day=2)
    assert box.read()[0].files == 1


def test_where_no_time_is_kept_only_the_content_tells(box: Box) -> None:
    @dataclass(frozen=True)
    class Timeless(CountingInbox):
        def files(self, source: Source) -> Iterator[SourceFile]:
            return (replace(file, mtime=0.0) for file in super().files(source))

    for city, files in (("Lisbon", 1), ("Lisbon", 0), ("London", 1)):
        box.put("email/a.mbox", mbox(f"I live in {city}."))
        inbox = Timeless(box.root, box.fs, box.root)
        assert read_source(box.engine, inbox, Source.EMAIL, box.options).files == files


def test_a_copy_under_another_name_makes_no_second_document(box: Box) -> None:
    box.put("email/a.mbox", mbox("I live in Lisbon."))
    box.put("email/old/b.mbox", mbox("I live in Lisbon.", "I like tea."))
    assert box.read()[0].saved == Saved(new=2, unchanged=1)


def test_all_tables_of_an_export_are_read_when_one_changed(box: Box) -> None:
    """A task names its person by an id that only the other table explains."""
    box.put("crm/sf/Contact.csv", table(contact(1), contact(2)))
    box.put("crm/sf/Task.csv", table(task("Likes tea.")))
    box.put("crm/other/Contact.csv", table(contact(3)))
    assert box.read(Source.CRM)[0].files == 3
    box.put(
        "crm/sf/Task.csv",
        table(task("Likes go.")),
        day=2,
    )
    report, opened = box.read(Source.CRM)
    assert (report.files, report.unchanged) == (2, 1)
    assert "crm/other/Contact.csv" not in opened


@pytest.mark.parametrize(
    "options",
    [
        ReadOptions(internal_domains=frozenset({"acme.example"})),
        ReadOptions(timezone="Europe/Berlin"),
        ReadOptions(phone_region="DE"),
        ReadOptions(max_cell_chars=5),
    ],
    ids=["domains", "zone", "region", "limit"],
)
def test_settings_that_decide_reading_make_files_be_read_again(box: Box, options: ReadOptions) -> None:
    box.put("email/a.mbox", mbox("I live in Lisbon."))
    box.read()
    box.options = options
    assert box.read()[0].files == 1
    assert box.read()[0].files == 0


def test_the_folder_may_have_settings_of_its_own(box: Box) -> None:
    box.put("email/a.mbox", mbox("I live in Lisbon."))
    box.read()
    box.put("email/_source.yaml", b"internal_domains: [acme.example]")
    report, _ = box.read()
    assert report.counts.skipped == {"internal_sender": 1}
    assert box.read()[0].unchanged == 1


@pytest.mark.parametrize("content", [b"timezone: Europe\n", b"internal_domain: [x.example]\n", b"\xff: ["])
def test_wrong_settings_stop_their_own_folder_only(box: Box, content: bytes) -> None:
    """Nothing of it is read, as they may say whose people are staff; it is told until they are right."""
    box.put("email/a.mbox", mbox("I live in Lisbon."))
    box.put("email/_source.yaml", content)
    box.put("crm/sf/Contact.csv", table(contact(1)))
    for _ in range(2):
        report, opened = box.read()
        assert (report.files, report.counts.rejected, opened) == (0, 1, Counter())
        assert report.stopped.startswith("email/_source.yaml: ")
        assert report.stopped.endswith("; nothing in email/ was read")
        assert rejected(box.engine) == [("email/_source.yaml", "file")]
    assert box.read(Source.CRM)[0].saved.new == 1
    box.put("email/_source.yaml", b"timezone: Europe/Berlin\n", day=2)
    assert box.read()[0].saved.new == 1
    assert (rejected(box.engine), len(rows(box.engine, FileRow))) == ([], 2)


def test_a_broken_row_is_kept_with_where_and_why_and_the_rest_goes_on(box: Box) -> None:
    broken = table(contact(1), contact(2, Id="nonsense"), contact(3))
    box.put("crm/sf/Contact.csv", broken)
    report, _ = box.read(Source.CRM)
    assert (report.saved.new, report.counts.rejected) == (2, 1)
    ((file, position),) = rejected(box.engine)
    assert file == "crm/sf/Contact.csv"
    assert "3" in position
    (row,) = rows(box.engine, FileRow)
    assert (row.counts["rejected"], row.counts["documents"], row.run_id) == (1, 2, "run")
    box.put("crm/sf/Contact.csv", table(contact(1), contact(2), contact(3)), day=2)
    assert box.read(Source.CRM)[0].saved.new == 1
    assert rejected(box.engine) == []


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("email/offer.pdf", b"%PDF-1.7 ...", "a PDF; not a format that is read from email/, known there: mbox,"),
        ("email/task.csv", b"Id,WhoId,Description,SystemModstamp,CreatedById\n", "salesforce, which is read from crm/"),
        ("email/acme/_source.yaml", b"timezone: UTC\n", "hold for all of email/: put them into email/_source.yaml"),
    ],
)
def test_what_nobody_reads_is_told_with_what_to_do(box: Box, name: str, content: bytes, told: str) -> None:
    box.put(name, content)
    box.read()
    (row,) = rows(box.engine, Rejection)
    assert told in row.reason


def test_what_nobody_reads_is_said_once_and_looked_at_once(box: Box) -> None:
    box.put("email/notes.docx", b"PK not mail at all")
    report, _ = box.read()
    assert (report.unrecognised, report.files) == (1, 0)
    assert rejected(box.engine) == [("email/notes.docx", "file")]
    report, opened = box.read()
    assert report.unrecognised == 1
    assert not opened
    box.put("email/notes.docx", mbox("I live in Lisbon."), day=2)
    assert box.read()[0].saved == Saved(new=1)
    assert rejected(box.engine) == []


def test_an_archive_of_which_nothing_can_be_used_is_one_rejection(box: Box) -> None:
    box.put("email/a.mbox", mbox("I live in Lisbon."))
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr("users.json", "[]")
        archive.writestr("channels.json", "[]")
    box.put("chat/slack.zip", whole.getvalue()[:-40])
    report, _ = box.read(Source.CHAT)
    assert report.counts.rejected + report.unrecognised >= 1
    assert [file for file, _ in rejected(box.engine)] == ["chat/slack.zip"]
    assert box.read(Source.CHAT)[0].files == 0


def test_a_reason_does_not_name_its_file_again(box: Box) -> None:
    """Beside which it is listed."""
    box.put("crm/shop/people.csv", table(contact(1)))
    box.put("crm/shop/mapping.yaml", b"files: [")
    box.read(Source.CRM)
    (refused,) = rows(box.engine, Rejection)
    assert refused.reason.startswith("not YAML")


def test_a_file_that_cannot_be_opened_stops_nothing_and_is_tried_again(box: Box) -> None:
    box.put("email/a.mbox", mbox("I live in Lisbon."))
    box.put("email/b.mbox", mbox("I like tea.", "I like go."))
    box.broken.add("email/a.mbox")
    for _ in range(2):
        report, _ = box.read()
        assert report.counts.rejected == 1
        ((row),) = rows(box.engine, Rejection)
        assert row.reason == "cannot be read: Permission denied; the next run tries it again"
    assert len(texts(box.engine)) == 2
    box.broken.clear()
    assert box.read()[0].files == 1
    assert rejected(box.engine) == []


class Torn(io.BytesIO):
    """A file on a network that breaks off."""

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        if self.tell() > 100_000:
            raise ConnectionResetError(104, "Connection reset by peer")
        return data

    read1 = read  # type: ignore[assignment]

    def readline(self, size: int | None = -1) -> bytes:
        line = super().readline(size)
        if self.tell() > 100_000:
            raise ConnectionResetError(104, "Connection reset by peer")
        return line


def test_a_read_that_broke_off_starts_again(box: Box) -> None:
    content = mbox(*(f"I live in town number {n}." for n in range(3_000)))

    @dataclass(frozen=True)
    class Tearing(CountingInbox):
        def files(self, source: Source) -> Iterator[SourceFile]:
            for file in super().files(source):
                opens = iter([file.opener, file.opener])
                yield replace(file, opener=lambda opens=opens: next(opens, lambda: Torn(content))())  # type: ignore[misc]

    box.put("email/a.mbox", content)
    report = read_source(box.engine, Tearing(box.root, box.fs, box.root), Source.EMAIL, box.options)
    assert report.saved.new < 3_000
    assert [row.reason.split(";")[0] for row in rows(box.engine, Rejection)] == [
        "cannot be read: Connection reset by peer"
    ]
    report, _ = box.read()
    assert report.files == 1
    assert len(texts(box.engine)) == 3_000
    assert rejected(box.engine) == []


def test_a_read_that_was_killed_starts_again(box: Box) -> None:
    """A file counts as read only when all of it is stored."""
    box.put("email/a.mbox", mbox("I live in Lisbon."))
    box.read()
    (row,) = rows(box.engine, FileRow)
    begin_files(box.engine, [row._asdict()])
    assert box.read()[0].files == 1
    assert box.read()[0].files == 0


def test_a_new_version_of_a_reader_reads_again() -> None:
    """``read_with`` holds the reader's version; that of an unrecognised file holds all formats."""
    options = ReadOptions()
    reader = registry.READERS[0]
    assert read_with(reader, options) != read_with(replace(reader, version=99), options)
    assert reader.format in registry_version()


def test_an_empty_folder_or_none_is_fine(box: Box) -> None:
    box.put("email/.hidden", b"x")
    report, _ = box.read()
    assert report == ReadReport(Source.EMAIL)
    assert box.read(Source.CHAT)[0] == ReadReport(Source.CHAT)


def test_progress_is_told_of_every_unit(box: Box) -> None:
    box.put("email/a.mbox", mbox(*(f"I live in town {n}." for n in range(5))))
    told: Counter[str] = Counter()
    inbox = Inbox(box.root, box.fs, box.root)
    read_source(box.engine, inbox, Source.EMAIL, box.options, progress=lambda name, n: told.update({name: n}))
    assert told == {"email/a.mbox": 5}


def test_batches_are_bounded_in_records_and_in_characters() -> None:
    small = [record(text="x")] * (2 * BATCH_RECORDS + 1)
    assert [len(batch) for batch in reading._batches(small)] == [BATCH_RECORDS, BATCH_RECORDS, 1]
    large = iter([record(text="x" * (BATCH_CHARS // 2))] * 100)
    assert len(next(reading._batches(large))) == 2
    assert len(list(large)) == 98, "no more than the batch was taken into memory"
    others = [Rejected("f", "1", "r"), Skipped("f", "r")]
    assert list(reading._batches(others)) == [others]
