"""The bytes of one mail: headers, and the text its sender typed into it. Attachments are never decoded.

Own code rather than ``email``: the standard parser builds every part of every message (a 50 MB mail takes 300 MB),
raises RecursionError on deep nesting and, with ``policy.default``, on some real headers. Here offsets into the one
buffer are passed around, a header is decoded when it is asked for, and no input raises anything but UnreadableMail.
"""

import binascii
import re
from dataclasses import dataclass
from functools import cached_property

from ingest_pipeline.errors import IngestError
from ingest_pipeline.sources.charsets import decode_text, sanitized
from ingest_pipeline.sources.html import html_to_text

MAX_DEPTH = 50
MAX_PARTS = 1_000
MAX_HEADERS = 1_000
MAX_BLOCK_BYTES = 20_000
"""Of headers that are read at once, so that fewer than MAX_HEADERS are of one name."""

_HEADER = re.compile(rb"([!-9;-~]+)[ \t]*:[ \t]*([^\r\n]*(?:\r?\n[ \t][^\r\n]*)*)\r?\n?")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9-]+").fullmatch
_FOLDING = frozenset(" \t")
_FOLD = re.compile(r"\r?\n[ \t]+")
_PARAMETER = re.compile(r';\s*([^\s=;"]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;\s"]*))')
_ENCODED_WORD = re.compile(r"=\?([^?\s*]+)(?:\*[^?\s]*)?\?([bBqQ])\?([^?]*)\?=")
_BETWEEN_WORDS = re.compile(r"(\?=)\s+(?==\?)")
_ENRICHED = re.compile(r"<param>.{0,1000}?</param>|<(?!<)/?[^<>]{1,60}>", re.IGNORECASE | re.DOTALL)
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/]")


class UnreadableMail(IngestError):
    """This mail cannot be read. The message is the rejection's reason and holds none of the mail's text."""


@dataclass(frozen=True, slots=True)
class Body:
    """The mail's own text, decoded, before quotes and signature are split off; lines end in ``\\n``.

    ``charset`` is set when it was not the declared one. ``forwarded`` tells of an attached message that was left out,
    ``markup`` that the text was taken out of HTML.
    """

    text: str
    charset: str | None = None
    warnings: tuple[str, ...] = ()
    forwarded: bool = False
    markup: bool = False


class Headers:
    """The header fields of a message or part, by lower-case name. Bytes are kept as Latin-1 until one is asked for."""

    def __init__(self, data: bytes, start: int, end: int) -> None:
        self._fields: dict[str, list[str]] = {}
        position = self._read_at_once(data, start, end)
        match = _HEADER.match(data, position, end)
        while match is not None:
            name, value = match.groups()
            same = self._fields.setdefault(name.decode("ascii").lower(), [])
            if len(same) < MAX_HEADERS:
                same.append(value.decode("latin-1"))
            position = match.end()
            match = _HEADER.match(data, position, end) or self._below_damaged_line(data, position, end)
        if data.startswith(b"\n", position, end):
            position += 1
        elif data.startswith(b"\r\n", position, end):
            position += 2
        self.body_start = position

    def _read_at_once(self, data: bytes, start: int, end: int) -> int:
        """Reads a block without a damaged line, which most are, in half the time. Returns where to go on."""
        block_end = data.find(b"\n\n", start, end) + 1
        if not 0 < block_end - start < MAX_BLOCK_BYTES:
            return start
        fields: dict[str, list[str]] = {}
        same: list[str] | None = None
        for line in data[start : block_end - 1].decode("latin-1").split("\n"):
            if line[:1] in _FOLDING and same is not None:
                same[-1] = f"{same[-1]}\n{line}"
                continue
            name, colon, value = line.partition(":")
            if not colon or not _PLAIN_NAME(name):
                return start
            same = fields.setdefault(name.lower(), [])
            same.append(value)
        self._fields = fields
        return block_end

    def _below_damaged_line(self, data: bytes, position: int, end: int) -> re.Match[bytes] | None:
        # A line that is no header begins the body, but not before the sender was named and right above another header.
        if "from" in self._fields or data.startswith((b"\n", b"\r\n"), position, end):
            return None
        return _HEADER.match(data, _next_line(data, position), end)

    def __contains__(self, name: str) -> bool:
        return name in self._fields

    def get(self, name: str) -> str:
        """The first field of that name, unfolded, encoded words still encoded; "" when there is none."""
        values = self._fields.get(name)
        return _unfolded(values[0]) if values else ""

    def get_all(self, name: str) -> list[str]:
        return [_unfolded(value) for value in self._fields.get(name, ())]

    @cached_property
    def content_type(self) -> str:
        """Lower case, without parameters; "" when it is missing or no ``type/subtype``."""
        kind = self.get("content-type").partition(";")[0].strip().lower()
        return kind if "/" in kind else ""

    def parameter(self, header: str, name: str) -> str:
        """A parameter such as ``charset`` or ``boundary``; RFC 2231 continuations are joined."""
        found: dict[str, str] = {}
        for match in _PARAMETER.finditer(self.get(header)):
            key = match[1].lower()
            value = match[3] if match[2] is None else re.sub(r"\\(.)", r"\1", match[2])
            found.setdefault(key, value)
        pieces = [found[key] for key in sorted(found) if key == name or key.startswith(name + "*")]
        return found.get(name) or "".join(pieces)

    @property
    def is_attachment(self) -> bool:
        disposition = self.get("content-disposition").strip().lower()
        if disposition.startswith("attachment") or "filename" in disposition:
            return True
        return not disposition.startswith("inline") and bool(self.parameter("content-type", "name"))


class Message:
    """One mail. ``headers`` are parsed at once, the body when ``body()`` is called."""

    def __init__(self, data: bytes) -> None:
        if b"\n" not in data[:2_000] and b"\r" in data:
            data = data.replace(b"\r", b"\n")
        start = 0
        while data.startswith((b"From ", b">From "), start) or data.startswith(
            (b"\n", b"\r\n", b"\xef\xbb\xbf"), start
        ):
            start = _next_line(data, start) if not data.startswith(b"\xef\xbb\xbf", start) else start + 3
        self._data = data
        self._parts = 0
        self._forwarded = False
        self.headers = Headers(data, start, len(data))

    def encrypted(self) -> bool:
        kind = self.headers.content_type
        if kind in {"application/pkcs7-mime", "application/x-pkcs7-mime"}:
            return True
        body = self._data[self.headers.body_start : self.headers.body_start + 2_000]
        return kind == "multipart/encrypted" or body.lstrip().startswith(b"-----BEGIN PGP MESSAGE-----")

    def body(self) -> Body:
        """Raises UnreadableMail for nesting or part counts beyond the limits."""
        texts = self._texts(self.headers, self.headers.body_start, len(self._data), 0)
        plain: list[str] = []
        charset: str | None = None
        warnings: list[str] = []
        for kind, raw, declared in texts:
            decoded, used, problems = decode_text(raw, declared)
            warnings += problems
            charset = used or charset
            text = _plain(kind, decoded)
            if kind != "text/plain" and decoded.strip() and not text.strip():
                warnings.append("markup_without_text")
            plain.append(text.strip("\n"))
        joined = "\n\n".join(text for text in plain if text.strip())
        markup = any(kind != "text/plain" for kind, _, _ in texts)
        return Body(joined, charset, tuple(dict.fromkeys(warnings)), self._forwarded, markup)

    def _texts(self, headers: Headers, start: int, end: int, depth: int) -> list[tuple[str, bytes, str]]:
        """The readable texts of a part: (content type, decoded bytes, declared charset)."""
        self._parts += 1
        if depth > MAX_DEPTH:
            raise UnreadableMail(f"unreadable: parts nested deeper than {MAX_DEPTH}")
        if self._parts > MAX_PARTS:
            raise UnreadableMail(f"unreadable: more than {MAX_PARTS} parts")
        kind = headers.content_type or "text/plain"
        if depth and headers.is_attachment:
            return []
        if kind.startswith("multipart/"):
            return self._multipart(headers, kind, start, end, depth)
        if kind.startswith("message/"):
            self._forwarded = self._forwarded or kind == "message/rfc822"
            return []
        if kind not in {"text/plain", "text/html", "text/enriched", "text/richtext"}:
            return []
        raw = _transfer_decoded(self._data[start:end], headers.get("content-transfer-encoding"))
        return [(kind, raw, headers.parameter("content-type", "charset"))]

    def _multipart(self, headers: Headers, kind: str, start: int, end: int, depth: int) -> list[tuple[str, bytes, str]]:
        spans = _part_spans(self._data, start, end, headers.parameter("content-type", "boundary"))
        if spans is None:
            return [("text/plain", self._data[start:end], "")]
        if kind == "multipart/digest":
            self._forwarded = True
            return []
        children = []
        for part_start, part_end in spans:
            part = Headers(self._data, part_start, part_end)
            children.append(self._texts(part, part.body_start, part_end, depth + 1))
        if kind != "multipart/alternative":
            return [text for texts in children for text in texts]
        filled = [texts for texts in children if any(raw.strip() for _, raw, _ in texts)]
        plain = [texts for texts in filled if all(kind == "text/plain" for kind, _, _ in texts)]
        return (plain or filled or [[]])[0]


def decode_header(value: str) -> str:
    """A header's text with its RFC 2047 words decoded; never raises."""
    if "=?" not in value:
        return sanitized(value)
    pieces: list[str] = []
    pending: list[tuple[str, bytes]] = []
    copied = 0
    value = _BETWEEN_WORDS.sub(r"\1", value)
    for match in _ENCODED_WORD.finditer(value):
        if match.start() > copied:
            pieces += _flushed(pending), value[copied : match.start()]
        copied = match.end()
        charset = match[1].lower()
        if pending and pending[-1][0] != charset:
            pieces.append(_flushed(pending))
        # A character may be split over two words of the same charset.
        pending.append((charset, _word_bytes(match[2], match[3])))
    pieces += _flushed(pending), value[copied:]
    return sanitized("".join(pieces))


def _plain(kind: str, text: str) -> str:
    if kind == "text/html":
        return html_to_text(text, mark_quotes=True)
    if kind == "text/plain":
        return text
    # RFC 1896: one newline is a blank, more are line breaks, "<<" is a literal "<".
    return re.sub(r"\n(\n*)", lambda match: match[1] or " ", _ENRICHED.sub("", text)).replace("<<", "<")


def _unfolded(raw: str) -> str:
    if "\n" in raw:
        raw = _FOLD.sub(" ", raw)
    if raw.isascii():
        return raw.strip()
    octets = raw.encode("latin-1")
    try:
        return octets.decode("utf-8").strip()
    except UnicodeDecodeError:
        return octets.decode("cp1252", "replace").strip()


def _word_bytes(encoding: str, text: str) -> bytes:
    raw = text.encode("utf-8", "replace")
    if encoding in "qQ":
        return binascii.a2b_qp(raw, header=True)
    return _base64(raw)


def _flushed(pending: list[tuple[str, bytes]]) -> str:
    if not pending:
        return ""
    text, _, _ = decode_text(b"".join(raw for _, raw in pending), pending[0][0])
    pending.clear()
    return text


def _transfer_decoded(raw: bytes, encoding: str) -> bytes:
    name = encoding.strip().lower()
    if name == "quoted-printable":
        return binascii.a2b_qp(raw)
    if name == "base64":
        return _base64(raw)
    if name in {"x-uuencode", "uuencode", "uue", "x-uue"}:
        return _uuencoded(raw)
    return raw


def _base64(raw: bytes) -> bytes:
    """Lenient: foreign characters and a damaged end are ignored."""
    head, padding, tail = raw.partition(b"=")
    # A list's footer below the padding is not base64.
    digits = _NOT_BASE64.sub(b"", head if padding and len(tail) > 2 else raw)
    usable = digits[: len(digits) - (len(digits) % 4 == 1)]
    return binascii.a2b_base64(usable + b"=" * (-len(usable) % 4))


def _uuencoded(raw: bytes) -> bytes:
    decoded: list[bytes] = []
    inside = False
    for line in raw.splitlines():
        if not inside:
            inside = line.startswith(b"begin ")
        elif line.strip() in {b"end", b"`"}:
            break
        else:
            try:
                decoded.append(binascii.a2b_uu(line))
            except binascii.Error:
                continue  # a damaged line loses itself only
    return b"".join(decoded)


def _next_line(data: bytes, start: int) -> int:
    end = data.find(b"\n", start)
    return len(data) if end < 0 else end + 1


def _part_spans(data: bytes, start: int, end: int, boundary: str) -> list[tuple[int, int]] | None:
    """Where the parts of a multipart body are, or None when its boundary does not occur."""
    delimiter = b"--" + boundary.rstrip().encode("utf-8", "replace")
    if len(delimiter) == 2:
        return None
    spans: list[tuple[int, int]] = []
    opened: int | None = None
    found = data.find(delimiter, start, end)
    while found >= 0:
        line_end = _next_line(data, found)
        tail = data[found + len(delimiter) : min(line_end, end)].strip()
        if tail in {b"", b"--"} and (found == start or data[found - 1] == 0x0A):
            if opened is not None:
                spans.append((opened, max(opened, _before_newline(data, found))))
            opened = None if tail else line_end
            if tail:
                break
        found = data.find(delimiter, line_end, end)
    if opened is not None and opened < end:
        spans.append((opened, end))
    return spans or None


def _before_newline(data: bytes, position: int) -> int:
    position -= 1
    return position - 1 if position > 0 and data[position - 1] == 0x0D else position
