"""Bytes to text when the declared charset is missing, unknown or wrong, as it often is in mail."""

import re

from charset_normalizer import from_bytes

_BOMS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
# The encodings that mail programs write under the narrower name.
_SUPERSETS = {
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "shift-jis": "cp932",
    "euc-kr": "cp949",
    "ks_c_5601-1987": "cp949",
    "iso-8859-1": "cp1252",
    "latin1": "cp1252",
    "iso-8859-9": "cp1254",
}
# Python codecs that are no charset of a text.
_NO_CHARSETS = frozenset({"unicode_escape", "unicode-escape", "raw_unicode_escape", "raw-unicode-escape", "idna"})
_NO_CHARSETS |= {"punycode", "undefined", "oem", "mbcs"}
_BIDI_AND_CONTROLS = re.compile("[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
_DETECTION_BYTES = 65_536


def decode_text(raw: bytes, declared: str) -> tuple[str, str | None, list[str]]:
    """``(text, charset if not the declared one, warnings)``: declared → BOM → strict UTF-8 → cp1252 → detection."""
    charset = declared.strip().strip("'\"").lower()
    if raw.isascii() and charset not in {"utf-7", "hz-gb-2312"} and not charset.startswith(("iso-2022", "utf-16")):
        return sanitized(raw.decode("ascii")), None, []
    warnings: list[str] = []
    if charset:
        for name in (_SUPERSETS.get(charset, ""), charset):
            text = _strictly(raw, name)
            if text is not None:
                return sanitized(text), None, []
        warnings.append("charset_not_as_declared")
    for mark, name in _BOMS:
        if raw.startswith(mark) and (text := _strictly(raw, name)) is not None:
            return sanitized(text), name, warnings
    if (text := _strictly(raw, "utf-8")) is not None:
        return sanitized(text), "utf-8", warnings
    if charset in {"utf-8", "utf8"} and (text := _mostly_utf8(raw)) is not None:
        return sanitized(text), None, ["undecodable_bytes"]
    if (text := _strictly(raw, "cp1252")) is not None:
        return sanitized(text), "cp1252", warnings
    best = from_bytes(raw[:_DETECTION_BYTES]).best()
    name = best.encoding if best is not None else "latin-1"
    return sanitized(raw.decode(name, "replace")), name, [*warnings, "charset_guessed"]


def sanitized(text: str) -> str:
    """Without NULs and lone surrogates; all line ends are ``\\n``."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if "\x00" in text:
        text = text.replace("\x00", "")
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-8", "replace").decode("utf-8")
    return text.removeprefix("\ufeff")


def one_line(name: str) -> str:
    """A name for people: no line ends, control characters or marks that change the writing direction."""
    return " ".join(_BIDI_AND_CONTROLS.sub(" ", name).split())


def _mostly_utf8(raw: bytes) -> str | None:
    """UTF-8 with a few damaged bytes: reading it as another charset would garble every other character."""
    text = raw.decode("utf-8", "replace")
    damaged = text.count("\ufffd")
    good = sum(1 for character in text if character > "\x7f") - damaged
    return text if good > 4 * damaged else None


def _strictly(raw: bytes, charset: str) -> str | None:
    if not charset or charset in _NO_CHARSETS:
        return None
    try:
        return raw.decode(charset)
    except (LookupError, ValueError):
        return None
