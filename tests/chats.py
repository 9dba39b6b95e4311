"""What the tests of the chat readers share: exports from bytes, and their items by kind."""

import io
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ingest_pipeline.documents import Item, Record, Rejected, Skipped, Source
from ingest_pipeline.sources.base import HEAD_BYTES, Export, Reader, ReadOptions, SourceFile

REAL = os.environ.get("INGEST_REAL_FIXTURES")
needs_real_files = pytest.mark.skipif(not REAL, reason="INGEST_REAL_FIXTURES is not set")
OPTIONS = ReadOptions()


def real(pattern: str) -> list[Path]:
    """The real files that match, at least one."""
    found = sorted(Path(REAL or "").glob(pattern))
    assert found
    return found


def zipped(members: Mapping[str, Any]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content if isinstance(content, bytes) else json.dumps(content))
    return stream.getvalue()


def source(data: Any, name: str = "chat/export.json") -> SourceFile:
    content = data if isinstance(data, bytes) else data.encode() if isinstance(data, str) else json.dumps(data).encode()
    return SourceFile(name, len(content), 0.0, lambda: io.BytesIO(content))


def is_detected(reader: Reader, file: SourceFile) -> bool:
    with file.opener() as stream:
        return reader.detect(file, stream.read(HEAD_BYTES))


def read(
    reader: Reader,
    data: Any,
    options: ReadOptions = OPTIONS,
    name: str = "chat/export.json",
    source_: Source = Source.CHAT,
) -> list[Item]:
    return list(reader.read(Export(reader.format, source_, (source(data, name),)), options))


def records(items: list[Item]) -> list[Record]:
    return [item for item in items if isinstance(item, Record)]


def texts(items: list[Item]) -> list[str]:
    return [record.text for record in records(items)]


def rejections(items: list[Item]) -> list[tuple[str, str]]:
    return [(item.position, item.reason) for item in items if isinstance(item, Rejected)]


def skips(items: list[Item]) -> dict[str, int]:
    return {item.reason: item.units for item in items if isinstance(item, Skipped)}


def keys(items: list[Item]) -> list[str]:
    return [str(record.subjects[0].key) for record in records(items)]


def units(items: list[Item]) -> int:
    return sum(record.units for record in records(items))
