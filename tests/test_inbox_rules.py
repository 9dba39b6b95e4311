"""What the inbox promises, over formats of every source and over more than one file system.

Changed files are read again and unchanged ones not opened; what was taken away stays; what comes twice is there once;
what was edited is replaced, the old version kept and its observations superseded.
"""

import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import fsspec
import pytest
from sqlalchemy import Engine

from ingest_pipeline.reading import read_source
from ingest_pipeline.sources import registry
from ingest_pipeline.sources.base import Reader
from ingest_pipeline.sources.inbox import open_inbox
from ingest_pipeline.store.documents import Saved
from ingest_pipeline.store.engine import open_engine
from ingest_pipeline.store.tables import DocumentRow, FileRow, ObservationRow, TraitRow
from tests.builders import rows
from tests.format_samples import BUILDERS, OPTIONS, Said
from tests.placing import Place

FORMATS = ("salesforce", "zendesk", "mapped", "mbox", "mail_zip", "slack", "telegram", "chatgpt")
READERS = [registry.BY_FORMAT[name] for name in FORMATS]
EVERY_FORMAT = pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.format)
# A mail that was sent is not edited: another text is another mail.
EDITABLE = [reader for reader in READERS if reader.source != "email"]

LISBON = Said("I live in Lisbon.")
LATER = datetime(2024, 2, 3, 9, tzinfo=UTC)


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Engine]:
    engine = open_engine(f"sqlite:///{tmp_path / 'rules.db'}")
    yield engine
    engine.dispose()


@pytest.fixture(params=["file", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[Engine], Place]]:
    url = str(tmp_path / "inbox") if request.param == "file" else f"memory://{tmp_path.name}"
    yield lambda engine: Place(engine, url)
    if request.param == "memory":
        fsspec.filesystem("memory").rm(f"/{tmp_path.name}", recursive=True)


@pytest.fixture
def inbox(engine: Engine, tmp_path: Path) -> Place:
    return Place(engine, str(tmp_path / "inbox"))


@EVERY_FORMAT
def test_an_inbox_on_any_file_system(sqlite: Engine, place: Callable[[Engine], Place], reader: Reader) -> None:
    """Read, not read again while it is unchanged, read again when it changed."""
    inbox = place(sqlite)
    inbox.put(reader, BUILDERS[reader.format](LISBON))
    first = inbox.read(reader)
    assert first.counts.rejected == first.unrecognised == first.unchanged == 0
    assert first.saved.new >= 1
    again = inbox.read(reader)
    assert (again.files, again.unchanged, again.saved) == (0, first.files, Saved())
    inbox.put(reader, BUILDERS[reader.format](Said(LISBON.text, at=LATER, more="I like tea.")))
    changed = inbox.read(reader)
    assert changed.files >= 1
    assert "I like tea." in "\n".join(inbox.texts())


@EVERY_FORMAT
def test_a_zip_can_be_the_inbox(sqlite: Engine, tmp_path: Path, reader: Reader) -> None:
    """Its folders are those of an inbox; a newer zip with more in it adds only that."""
    path = tmp_path / "inbox.zip"

    def pack(said: Said) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in BUILDERS[reader.format](said).items():
                archive.writestr(f"{reader.source}/acme/{name}", content)

    pack(LISBON)
    inbox = Place(sqlite, f"zip://::{path}")
    assert inbox.read(reader).saved.new >= 1
    assert inbox.read(reader).files == 0
    before = inbox.texts()
    pack(Said(LISBON.text, more="I like tea."))
    assert inbox.read(reader).files >= 1
    found = "\n".join(inbox.texts())
    assert "I like tea." in found
    assert all(text in found or text.rstrip() in found for text in before)


@EVERY_FORMAT
def test_a_file_that_is_taken_away_changes_nothing(sqlite: Engine, tmp_path: Path, reader: Reader) -> None:
    """What was read from it stays, and so does where it came from."""
    inbox = Place(sqlite, str(tmp_path / "inbox"))
    inbox.put(reader, BUILDERS[reader.format](LISBON))
    inbox.read(reader)
    before = rows(sqlite, DocumentRow), rows(sqlite, FileRow)
    inbox.take_away(reader)
    report = inbox.read(reader)
    assert (report.files, report.saved) == (0, Saved())
    assert (rows(sqlite, DocumentRow), rows(sqlite, FileRow)) == before
    inbox.put(reader, BUILDERS[reader.format](LISBON))
    assert inbox.read(reader).saved.new == 0


@EVERY_FORMAT
def test_an_overlapping_export_adds_only_what_is_new(inbox: Place, reader: Reader) -> None:
    """The same export in another folder adds nothing; one that goes on adds what is new: no text is there twice."""
    said = Said(LISBON.text)
    inbox.put(reader, BUILDERS[reader.format](said))
    first = inbox.read(reader).saved
    inbox.put(reader, BUILDERS[reader.format](said), "acme/second")
    again = inbox.read(reader).saved
    if reader.format not in BY_PLACE:
        assert (again.new, again.replaced, again.unchanged) == (0, 0, first.new)
    inbox.put(reader, BUILDERS[reader.format](Said(LISBON.text, more="I like tea.")))
    inbox.read(reader)
    found = "\n".join(inbox.texts())
    if reader.format not in BY_PLACE:
        assert (found.count(LISBON.text), found.count("I like tea.")) == (1, 1)
    inbox.extract_and_fold()
    lisbon = [row for row in rows(inbox.engine, TraitRow) if row.key == "location"]
    assert len(lisbon) <= (2 if reader.format in BY_PLACE else 1)


BY_PLACE = {"mapped", "chatgpt"}
"""Formats whose export does not say whose it is: its folder does."""


@pytest.mark.parametrize("reader", EDITABLE, ids=lambda reader: reader.format)
def test_an_edited_record_replaces_its_document(inbox: Place, reader: Reader) -> None:
    """The old version is kept for lineage; its observations prove nothing any more."""
    # A rep's note is about the person.
    said = "Lives in {}." if reader.format == "salesforce" else "I live in {}."
    inbox.put(reader, BUILDERS[reader.format](Said(said.format("Lisbon"))))
    inbox.read(reader)
    inbox.extract_and_fold()
    old = [row for row in rows(inbox.engine, DocumentRow) if "Lisbon" in row.text]
    assert [row.superseded_at for row in old] == [None]
    observed = [row for row in rows(inbox.engine, ObservationRow) if row.document_id == old[0].id]
    assert observed
    inbox.put(reader, BUILDERS[reader.format](Said(said.format("Porto"))))
    assert inbox.read(reader).saved.replaced == 1
    kept = {row.id: row for row in rows(inbox.engine, DocumentRow)}
    assert kept[old[0].id].superseded_at is not None
    assert kept[old[0].id].text == old[0].text
    inbox.extract_and_fold()
    assert "Lisbon" not in "\n".join(inbox.texts())
    values = [row.value for row in rows(inbox.engine, TraitRow) if row.key == "location"]
    assert values == ["Porto"]
    assert [row for row in rows(inbox.engine, ObservationRow) if row.document_id == old[0].id], "kept for lineage"


@pytest.mark.parametrize("known", [True, False], ids=["with a Message-ID", "without"])
def test_a_mail_in_two_mailboxes_is_one_document(inbox: Place, known: bool) -> None:
    """Of two different mails each is one, also where nothing but sender, date, subject and text tells them apart."""

    def mails(*parts: tuple[str, str]) -> bytes:
        return b"".join(
            f"From kim@x.example Wed Jan 10 08:00:00 2024\nFrom: Kim <kim@x.example>\nSubject: {subject}\n"
            f"{f'Message-ID: <{subject}@x.example>' if known else 'X-Mailer: a'}\n"
            f"Date: Wed, 10 Jan 2024 08:00:00 +0000\n\n{text}\n\n".encode()
            for subject, text in parts
        )

    reader = registry.BY_FORMAT["mbox"]
    first, second, third = ("one", "I live in Lisbon."), ("one", "I live in Porto."), ("two", "I live in Lisbon.")
    inbox.put(reader, {"a.mbox": mails(first, second), "b.mbox": mails(second, third, first)})
    assert inbox.read(reader).saved == Saved(new=3, unchanged=2)
    assert inbox.texts() == ["I live in Lisbon.", "I live in Lisbon.", "I live in Porto."]


@EVERY_FORMAT
def test_a_document_says_where_it_is_from_and_what_read_it(sqlite: Engine, tmp_path: Path, reader: Reader) -> None:
    """File and its SHA-256, the place in it, native id, the reader with its version, content hash, run."""
    inbox = Place(sqlite, str(tmp_path / "inbox"))
    inbox.put(reader, BUILDERS[reader.format](LISBON))
    read_source(sqlite, open_inbox(inbox.url), reader.source, OPTIONS, run_id="run-1")
    files = {row.id: row for row in rows(sqlite, FileRow)}
    for row in rows(sqlite, DocumentRow):
        assert row.metadata["reader"] == f"{reader.format} {reader.version}"
        assert files[row.file_id].name.startswith(f"{reader.source}/acme/")
        assert len(files[row.file_id].sha256) == len(row.content_hash) == 64
        assert row.native_id
        assert row.position
        assert row.run_id == "run-1"
        assert row.source == reader.source


@pytest.mark.parametrize("name", ["mbox", "mail_zip", "eml"])
def test_a_mail_with_another_text_is_another_mail(inbox: Place, name: str) -> None:
    """Same Message-ID, different body: both are kept."""
    reader = registry.BY_FORMAT[name]
    inbox.put(reader, BUILDERS[name](LISBON))
    inbox.read(reader)
    inbox.put(reader, BUILDERS[name](Said("I live in Porto.")))
    assert inbox.read(reader).saved == Saved(new=1)
    assert inbox.texts() == ["I live in Lisbon.", "I live in Porto."]
