"""Exports of CRMs in memory, for the tests of their readers."""

import io
import json
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from ingest_pipeline.documents import Item, Record, Rejected, Source
from ingest_pipeline.sources import registry
from ingest_pipeline.sources.base import HEAD_BYTES, Export, Reader, ReadOptions, SourceFile

OPTIONS = ReadOptions(internal_domains=frozenset({"vendor.example"}))


def source(name: str, data: bytes, mapped: bool = False) -> SourceFile:
    return SourceFile(name, len(data), 0.0, lambda: io.BytesIO(data), mapped)


def encoded(data: Any) -> bytes:
    """Bytes and text as they are, everything else as JSON."""
    if isinstance(data, bytes):
        return data
    return (data if isinstance(data, str) else json.dumps(data)).encode()


def read(reader: Reader, files: Mapping[str, Any], options: ReadOptions = OPTIONS) -> list[Item]:
    found = tuple(source(f"crm/acme/{name}", encoded(data)) for name, data in files.items())
    items = list(reader.read(Export(reader.format, Source.CRM, found), options))
    for item in items:
        check(item)
    return items


def check(item: Item) -> None:
    """What holds for every record."""
    if not isinstance(item, Record):
        return
    assert item.subjects
    end = 0
    for segment in item.segments:
        assert end <= segment.start < segment.end <= len(item.text)
        end = segment.end
    assert all(person.key.value and not person.key.value.endswith("/") for person in item.subjects)
    json.dumps(dict(item.metadata))
    item.text.encode()


def records(items: Iterable[Item], kind: str = "") -> list[Record]:
    return [item for item in items if isinstance(item, Record) and kind in ("", item.kind)]


def one(items: Iterable[Item], kind: str = "") -> Record:
    (found,) = records(items, kind)
    return found


def parts(item: Record) -> list[tuple[str, str]]:
    """(text, role) of every segment."""
    return [(item.text[s.start : s.end], s.role.value) for s in item.segments]


def counts(items: Iterable[Item]) -> Counter[str]:
    """Records by kind, everything else by reason."""
    found: Counter[str] = Counter()
    for item in items:
        units = 1 if isinstance(item, Rejected | Record) else item.units
        found[item.kind if isinstance(item, Record) else item.reason] += units
    return found


def zipped(files: Mapping[str, Any]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, encoded(data))
    return buffer.getvalue()


def formats(name: str, data: Any) -> list[str]:
    """Every CRM format that takes the file for its own."""
    raw = encoded(data)
    readers = (reader for reader in registry.READERS if reader.source is Source.CRM)
    return [reader.format for reader in readers if reader.detect(source(f"crm/{name}", raw), raw[:HEAD_BYTES])]
