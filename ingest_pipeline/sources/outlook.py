"""Outlook's messages: each is written out as the mail it once was, headers and plain or HTML body, and read like one.

``outlook_msg`` and ``outlook_pst`` take them from files, with libraries that come by ``pip install .[outlook]``.
Property numbers are those of [MS-OXPROPS].
"""

import re
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from importlib.util import find_spec

from ingest_pipeline.documents import Item, Rejected, Skipped
from ingest_pipeline.errors import UnreadableFile
from ingest_pipeline.sources.base import ReadOptions, SourceFile
from ingest_pipeline.sources.charsets import one_line
from ingest_pipeline.sources.mail import Location, read_mail

MESSAGE_CLASS, SUBJECT, HEADERS = 0x001A, 0x0037, 0x007D
SENDER_NAME, SENDER_ADDRESS, SENDER_SMTP = 0x0C1A, 0x0C1F, 0x5D01
FLAGS, SIZE, BODY, RTF, HTML = 0x0E07, 0x0E08, 0x1000, 0x1009, 0x1013
MESSAGE_ID, REFERENCES, IN_REPLY_TO = 0x1035, 0x1039, 0x1042
UNSENT = 0x8

_REPLACED = re.compile(r"(?:content-[\w-]+|mime-version)[ \t]*:", re.IGNORECASE)
_HEADER = re.compile(r"[!-9;-~]+[ \t]*:")


TEXTS = (
    MESSAGE_CLASS, SUBJECT, HEADERS, SENDER_NAME, SENDER_ADDRESS, SENDER_SMTP, MESSAGE_ID, REFERENCES, IN_REPLY_TO
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class OutlookMessage:
    """What Outlook keeps of a mail. ``text``: its string properties TEXTS, by number; ``sent`` is aware."""

    text: dict[int, str]
    sent: datetime | None
    flags: int = 0
    body: str = ""
    html: str = ""
    has_rtf: bool = False


def reader_version(version: int, library: str) -> int:
    """Higher when the library is there: files that were rejected without it are read once it is installed."""
    return 2 * version + (find_spec(library) is not None)


def require(library: str, file: SourceFile) -> None:
    """Raises UnreadableFile when the library is missing, saying how to get it."""
    if find_spec(library) is None:
        raise UnreadableFile(f"{file.name}: Outlook's files need a library more: pip install .[outlook]")


def outlook_items(message: OutlookMessage, location: Location, options: ReadOptions, now: datetime) -> tuple[Item, ...]:
    """The message as the items of a mail, or why it is none."""
    kind = (message.text.get(MESSAGE_CLASS) or "IPM.Note").lower()
    if kind.startswith("report."):
        return (Skipped(location.file, "automatic_mail"),)
    if not kind.startswith("ipm.note"):
        return (Skipped(location.file, "not_mail"),)
    if message.flags & UNSENT:
        return (Skipped(location.file, "draft"),)
    if kind == "ipm.note.smime" or kind.startswith("ipm.note.rpmsg"):
        return (Rejected(location.file, location.position, "unreadable: encrypted"),)
    if message.has_rtf and not message.body.strip() and not message.html.strip():
        return (Rejected(location.file, location.position, "the text is kept as RTF only, which is not read"),)
    data = as_mail(message)
    if len(data) > options.max_message_bytes:
        return (_too_large(location, options),)
    return read_mail(data, location, options, now)


def as_mail(message: OutlookMessage) -> bytes:
    """The mail in the form of RFC 5322, with the headers it came with as far as Outlook kept them."""
    headers = _transport_headers(message.text.get(HEADERS, ""))
    present = {line.partition(":")[0].strip().lower() for line in headers if not line[0].isspace()}
    address = next(
        (a for a in (message.text.get(SENDER_SMTP, ""), message.text.get(SENDER_ADDRESS, "")) if "@" in a), ""
    )
    own = {
        "From": f'"{_quotable(message.text.get(SENDER_NAME, ""))}" <{one_line(address)}>' if address else "",
        "Subject": one_line(message.text.get(SUBJECT, "")),
        "Message-ID": one_line(message.text.get(MESSAGE_ID, "")),
        "References": one_line(message.text.get(REFERENCES, "")),
        "In-Reply-To": one_line(message.text.get(IN_REPLY_TO, "")),
        "Date": format_datetime(message.sent) if message.sent else "",
    }
    headers += [f"{name}: {value}" for name, value in own.items() if value and name.lower() not in present]
    kind, body = ("plain", message.body) if message.body.strip() else ("html", message.html)
    headers += [f"Content-Type: text/{kind}; charset=utf-8", "Content-Transfer-Encoding: 8bit"]
    return "\n".join([*headers, "", body]).encode("utf-8", "replace")


def _quotable(name: str) -> str:
    return one_line(name).replace("\\", "").replace('"', "'")


def _transport_headers(raw: str) -> list[str]:
    """The lines of the header block, without what describes the body that Outlook took apart."""
    lines: list[str] = []
    keeps = False
    for line in raw.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        if line[:1] in {" ", "\t"}:
            if keeps and line.strip():
                lines.append(line)
            continue
        keeps = bool(_HEADER.match(line)) and not _REPLACED.match(line)
        if keeps:
            lines.append(line)
    return lines


def _too_large(location: Location, options: ReadOptions) -> Rejected:
    reason = f"the message is larger than {options.max_message_bytes} bytes"
    return Rejected(location.file, location.position, reason)
