"""What a file is that no reader takes, in words that say what to do about it."""

import re

from ingest_pipeline.sources.archives import ZIP_MAGIC
from ingest_pipeline.sources.tabular import first_cells

_BY_MAGIC = (
    (b"%PDF", "a PDF"),
    (b"\x1f\x8b", "compressed with gzip: unpack it first"),
    (b"BZh", "compressed with bzip2: unpack it first"),
    (b"\xfd7zXZ\0", "compressed with xz: unpack it first"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd: unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive: pack it as zip, or unpack it"),
    (b"Rar!", "a RAR archive: pack it as zip, or unpack it"),
    (b"PK\x05\x06", "an empty zip"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a file of an older Office: save a table as CSV"),
    (b"SQLite format 3\0", "an SQLite database: export its tables as CSV"),
    (b"\x89PNG", "an image"),
    (b"\xff\xd8\xff", "an image"),
    (b"GIF8", "an image"),
)
_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
_JSON = re.compile(r"[\[{]\s*[\"{}\[\]]")


def describe(head: bytes) -> str:
    """``"a PDF"``, ``"empty"`` …; never raises, and holds nothing of the content."""
    if not head.strip():
        return "empty"
    for magic, name in _BY_MAGIC:
        if head.startswith(magic):
            return name
    if head.startswith(ZIP_MAGIC):
        return _zip(head)
    text = head.decode("utf-8", "ignore").lstrip("\ufeff \t\r\n")
    if text.startswith("<"):
        return "HTML or XML"
    if _JSON.match(text):
        return "JSON of no known export"
    if b"\0" in head and not head.startswith(_MARKS):
        return "binary"
    columns, cells = first_cells(head)
    if columns is not None and len(columns) > 1 and len(cells) in (0, len(columns)):
        return (
            f"perhaps a table of {len(columns)} columns, of no known system: a mapping.yaml beside it would say "
            "what they are"
        )
    return "text of no known shape"


def _zip(head: bytes) -> str:
    if b"xl/" in head:
        return "an Excel workbook: save its sheets as CSV"
    if b"word/" in head or b"ppt/" in head:
        return "an Office document"
    return "a zip that holds no known export"
