"""Which encoding a CSV is in, from its first bytes, and how single wrong bytes in it are mended."""

import codecs
import re
from dataclasses import dataclass
from functools import lru_cache

from charset_normalizer import from_bytes

from ingest_pipeline.errors import UnreadableFile
from ingest_pipeline.sources.base import HEAD_BYTES

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)
_OTHER_SCRIPTS = frozenset(
    {
        "big5", "big5hkscs", "cp932", "cp936", "cp949", "cp950", "euc_jis_2004", "euc_jp", "euc_kr", "gb18030",
        "gb2312", "gbk", "johab", "shift_jis", "cp1251", "cp1253", "cp1255", "cp1256", "cp855", "cp866", "iso8859_5",
        "iso8859_6", "iso8859_7", "iso8859_8", "koi8_r", "koi8_u", "mac_cyrillic", "mac_greek", "tis_620",
    }
)  # fmt: skip
_BEYOND_ASCII = re.compile(rb"[\x80-\xff]+")
_WIDE = re.compile("[\x80-\ud7ff\ue000-\U0010ffff]")
_ESCAPED_BYTE = re.compile("[\udc80-\udcff]")


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a table's bytes are decoded; ``name`` goes into lineage when it is not UTF-8."""

    name: str

    @property
    def errors(self) -> str:
        # Escaped bytes are found and mended per line, as cp1252.
        return "surrogateescape" if self.is_utf8 or self.name == "cp1252" else "replace"

    @property
    def is_utf8(self) -> bool:
        return self.name.startswith("utf-8")


def encoding_of(head: bytes) -> Encoding:
    """Byte order mark, else UTF-16 by its NULs, else UTF-8, else the likeliest charset of before it.

    A few damaged bytes do not make a UTF-8 table another charset's: they are mended where they stand.
    Raises UnreadableFile for UTF-32 without a mark, or with one that does not fit the bytes.
    """
    for mark, name in _MARKS:
        if head.startswith(mark):
            return _confirmed(head, name)
    sample = head[:4096]
    if sample and sample.count(0) * 2 > len(sample):
        raise UnreadableFile("looks like UTF-32 without a byte order mark: save the table as UTF-8")
    if sample[1::2].count(0) * 2 > len(sample[1::2]):
        return Encoding("utf-16-le")
    if sample[::2].count(0) * 2 > len(sample[::2]):
        return Encoding("utf-16-be")
    return Encoding("utf-8" if _decodes(head, "utf-8") or _mostly_utf8(head) else _legacy_charset(head))


def mend(line: str) -> str:
    """The line with bytes that were not UTF-8 read as cp1252; the very same object when there are none."""
    try:
        line.encode()
    except UnicodeEncodeError:
        return _ESCAPED_BYTE.sub(lambda m: bytes([ord(m[0]) - 0xDC00]).decode("cp1252", "replace"), line)
    return line


def _confirmed(head: bytes, name: str) -> Encoding:
    if name == "utf-32" and not _decodes(head, name):
        raise UnreadableFile("has a UTF-32 mark but is not UTF-32: save the table as UTF-8")
    return Encoding(name)


def _decodes(head: bytes, name: str) -> bool:
    try:
        codecs.getincrementaldecoder(name)("strict").decode(head, final=len(head) < HEAD_BYTES)
    except UnicodeDecodeError:
        return False
    return True


def _mostly_utf8(head: bytes) -> bool:
    text = head.decode("utf-8", "surrogateescape")
    damaged = len(_ESCAPED_BYTE.findall(text))
    return len(_WIDE.findall(text)) > 4 * damaged


@lru_cache(maxsize=4)  # every reader that is asked looks at the same bytes
def _legacy_charset(head: bytes) -> str:
    """cp1252, unless the bytes are clearly another script's.

    Detection is reliable for scripts whose letters stand side by side outside ASCII and guesses wildly for single
    accented letters (cp1252 names came out as Hungarian and Indonesian), so only the former is asked of it.
    """
    beyond_ascii = sum(map(len, _BEYOND_ASCII.findall(head)))
    in_runs = sum(len(run) for run in _BEYOND_ASCII.findall(head) if len(run) > 1)
    if in_runs * 2 > beyond_ascii:
        best = from_bytes(head).best()
        if best is not None and best.encoding in _OTHER_SCRIPTS:
            return best.encoding
    return "cp1252"
