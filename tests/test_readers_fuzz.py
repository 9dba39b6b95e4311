"""Every reader over damaged exports: it gives records, rejections and omissions, never another error.

With HYPOTHESIS_PROFILE=long fifty times as many.
"""

import io
import json
import os
import unicodedata
import zipfile
from datetime import timedelta
from functools import cache
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest_pipeline.documents import Item, Record, Rejected, Skipped
from ingest_pipeline.errors import UnreadableFile
from ingest_pipeline.sources import registry
from ingest_pipeline.sources.archives import ZIP_MAGIC
from ingest_pipeline.sources.base import HEAD_BYTES, Reader
from tests.format_samples import BUILDERS, READABLE, Files, Said, detected, named, read, source_file, zipped

LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"
SECRET = "Xylophone Quetzal"
SAID = Said(f"I live in {SECRET}. Ünïcödé 🙂", f"Kim {SECRET}", more=f"On 03/04/2024 I moved.\n\n> {SECRET}\n\nKim")

# Some 10 ms are usual; on a machine that does other things too, only what hangs takes as long as this.
fuzz = settings(
    max_examples=3_000 if LONG else 60,
    deadline=timedelta(seconds=10),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
EVERY_READER = pytest.mark.parametrize("reader", registry.READERS, ids=named)
# JSON Lines have a reader per folder, all of them the same code.
DISTINCT = list({reader.format: reader for reader in registry.READERS}.values())
EVERY_FORMAT = pytest.mark.parametrize("reader", DISTINCT, ids=named)

TOKENS = [
    b"\0", b'"', b'"' * 3, b"\xff\xfe", b"\xef\xbb\xbf", b"\xff\xfe\0\0", b"{" * 3_000, b"[" * 3_000, b"NaN", b"-1e999",
    b'"\\ud800"', b"\\u0000", b"\r", b"\r\n\r\n", b"\n\nFrom a@b Mon Jan  1 10:00:00 2024\n", b"=?utf-8?q?=00=ff?=",
    b"99999999999999999999999", b"null", b"true", b"{}", b"[]", b",", b"]", b"}", b"\xed\xa0\x80", b"<div>" * 500,
    b"Content-Type: multipart/mixed; boundary=b\n\n--b\n", b"Content-Transfer-Encoding: base64\n",
    b"0001-01-01T00:00:00+23:59", b"9999-12-31T23:59:59-23:59", b"1970-01-01", "\u202e\u2028\u0085".encode(),
]  # fmt: skip


class Change(NamedTuple):
    """One kind of damage at a place, given in millionths of the length."""

    what: str
    at: int
    other: int
    length: int
    data: bytes

    def apply(self, content: bytes) -> bytes:
        start, end = (place * len(content) // 1_000_000 for place in (self.at, self.other))
        stop = min(start + self.length, len(content))
        piece = content[start:stop]
        if self.what == "flip":
            return content[:start] + bytes(byte ^ (1 << self.length % 8) for byte in piece[:1]) + content[start + 1 :]
        if self.what == "end":
            return content[:start]
        if self.what == "drop":
            return content[:start] + content[stop:]
        if self.what == "repeat":
            return content[:stop] + piece + content[stop:]
        if self.what == "move":
            rest = content[:start] + content[stop:]
            return rest[:end] + piece + rest[end:]
        return content[:start] + self.data + content[start:]


PLACES = st.integers(0, 999_999)
CHANGES = st.lists(
    st.builds(
        Change,
        st.sampled_from(["flip", "end", "drop", "repeat", "move", "insert"]),
        PLACES,
        PLACES,
        st.integers(1, 300),
        st.sampled_from(TOKENS) | st.binary(max_size=12),
    ),
    min_size=1,
    max_size=6,
)


def damaged(files: Files, changes: list[Change], inside: bool) -> Files:
    """The files, one of them changed; ``inside``: a member of a zip in place of the zip."""
    names = sorted(files)
    name = names[changes[0].other % len(names)]
    content = files[name]
    if inside and content.startswith(ZIP_MAGIC):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = {member: archive.read(member) for member in archive.namelist()}
        return {**files, name: zipped(damaged(members, changes, inside=False))}
    for change in changes:
        content = change.apply(content)
    return {**files, name: content}


def check(item: Item, names: set[str]) -> None:
    """What holds for everything that a reader gives."""
    assert item.file in names
    if isinstance(item, Record):
        check_record(item)
        return
    assert isinstance(item, Rejected | Skipped)
    assert item.reason
    if isinstance(item, Rejected):
        assert item.position
        assert not any(word in f"{item.reason} {item.position}" for word in SECRET.split())
    else:
        assert item.units > 0


def check_record(record: Record) -> None:
    """Offsets fit; everything can be stored: no NUL, no lone surrogate, no NaN; times have a zone."""
    assert record.origin
    assert record.kind
    assert record.native_id
    assert record.subjects
    assert record.units >= 0
    end = 0
    for segment in record.segments:
        assert end <= segment.start < segment.end <= len(record.text)
        end = segment.end
        storable(segment.speaker, segment.native_id)
        assert segment.occurred_at is None or segment.occurred_at.utcoffset() == timedelta(0)
    metadata = json.dumps(dict(record.metadata), allow_nan=False, ensure_ascii=False)
    assert "\\u0000" not in metadata.replace("\\\\", "")
    storable(record.text, record.native_id, metadata)
    for person in record.subjects:
        storable(person.name, person.namespace)
        assert all(storable(identifier.value) for identifier in (person.key, *person.identifiers, *person.same_as))
        assert not any(unicodedata.bidirectional(char) in BIDI_CONTROLS for char in person.name or "")
    for moment in (record.occurred_at, record.modified_at):
        assert moment is None or moment.utcoffset() == timedelta(0)


BIDI_CONTROLS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def storable(*texts: str | None) -> bool:
    for text in texts:
        assert "\0" not in (text or "")
        (text or "").encode()
    return True


def survive(reader: Reader, files: Files) -> None:
    names = {f"{reader.source}/acme/{name}" for name in files}
    try:
        for item in read(reader, files):
            check(item, names)
    except UnreadableFile as error:
        message = str(error)
    else:
        message = ""
    assert not any(word in message for word in SECRET.split())
    detected(reader, files)


@EVERY_READER
def test_every_reader_has_a_sample(reader: Reader) -> None:
    """Add one to ``format_samples.BUILDERS`` with a new reader."""
    assert reader.format in BUILDERS


@pytest.mark.parametrize("reader", READABLE, ids=named)
def test_the_samples_are_read_whole(reader: Reader) -> None:
    """Otherwise the other tests would damage what nobody reads."""
    files = BUILDERS[reader.format](SAID)
    assert set(detected(reader, files)) == {reader.format}
    items = read(reader, files)
    assert not [item for item in items if not isinstance(item, Record)]
    texts = "\n".join(item.text for item in items if isinstance(item, Record))
    assert SAID.text in texts
    assert "I moved." in texts


@cache
def sample(name: str) -> Files:
    return BUILDERS[name](SAID)


@EVERY_FORMAT
@fuzz
@given(changes=CHANGES, inside=st.booleans())
def test_a_damaged_export(reader: Reader, changes: list[Change], inside: bool) -> None:
    """Bits flipped, pieces lost, doubled, moved, foreign bytes put in."""
    survive(reader, damaged(sample(reader.format), changes, inside))


@EVERY_FORMAT
@fuzz
@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"PK\x03\x04", b"From a@b Mon Jan  1 10:00:00 2024\n", b"[{", b"Id,"]),
)
def test_any_bytes(reader: Reader, data: bytes, start: bytes) -> None:
    """Under the names that the format has."""
    survive(reader, {name: start + data for name in sample(reader.format)})


@EVERY_FORMAT
@settings(fuzz, max_examples=500 if LONG else 15)
@given(text=st.text(max_size=60), name=st.text(max_size=20))
def test_any_text_and_name(reader: Reader, text: str, name: str) -> None:
    """That can be written into the format at all."""
    said = Said(text.encode("utf-8", "ignore").decode(), name.encode("utf-8", "ignore").decode())
    survive(reader, BUILDERS[reader.format](said))


@EVERY_FORMAT
def test_an_export_of_another_format(reader: Reader) -> None:
    """Which somebody gave this reader's names."""
    for other in BUILDERS:
        foreign = list(sample(other).values())
        survive(reader, {name: foreign[n % len(foreign)] for n, name in enumerate(sample(reader.format))})


@pytest.mark.parametrize("reader", READABLE, ids=named)
def test_the_content_alone_tells_the_format(reader: Reader) -> None:
    """Of all readers, whatever the file is called and wherever it lies."""
    for data in BUILDERS[reader.format](SAID).values():
        file = source_file("file", data, mapped=reader.format == "mapped")
        found = registry.recognise(file, data[:HEAD_BYTES], None)
        # A mapping is known by its name, and tells what the tables beside it are.
        assert (found and found.format) == (None if reader.format == "mapped" else reader.format)
