"""Reads folders of an IMAP account, over ``imap-tools``: only what came after the last UID, without marking it as read.

    STATUS ── nothing new? ──▶ done
       └── EXAMINE ─▶ UID SEARCH ─▶ sizes and flags of many ─▶ BODY.PEEK[] of a few at a time ─▶ items

UIDs grow and are never used again as long as the folder's UIDVALIDITY stays the same (RFC 3501, 2.3.1.1).
"""

import errno
import imaplib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import chain

from imap_tools import BaseMailBox, MailBox, MailBoxUnencrypted
from imap_tools.errors import ImapToolsError, MailboxLoginError
from imap_tools.utils import encode_folder

from ingest_pipeline.documents import Item, Rejected, Skipped
from ingest_pipeline.errors import ConfigurationError
from ingest_pipeline.sources.base import ReadOptions
from ingest_pipeline.sources.imap_account import ImapAccount
from ingest_pipeline.sources.mail import Location, read_mail

TIMEOUT_SECONDS = 60.0
LISTED = 500
"""Messages whose sizes are asked for in one command."""

FETCH_BYTES = 8_000_000
FETCH_MESSAGES = 200
"""Messages are fetched together up to whichever comes first; a larger one alone."""

_UID = re.compile(rb"\bUID (\d+)")
_SIZE = re.compile(rb"\bRFC822\.SIZE (\d+)")
_FLAGS = re.compile(rb"\bFLAGS \(([^)]*)\)")
_ARRIVED = re.compile(rb'\bINTERNALDATE "([^"]*)"')
_LEFT_OUT = {b"\\draft": "draft", b"\\deleted": "trash"}


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder as the server reports it: the next message will get ``next_uid``."""

    validity: int
    next_uid: int


@dataclass(frozen=True, slots=True)
class Fetched:
    """The items of some messages. All messages up to ``uid`` are dealt with."""

    items: tuple[Item, ...]
    uid: int


@dataclass(frozen=True, slots=True)
class _Listed:
    uid: int
    size: int
    reason: str | None
    arrived: bytes


@contextmanager
def open_account(account: ImapAccount) -> Iterator[BaseMailBox]:
    """The account, logged in. Raises ConfigurationError when the server refuses, OSError when it is not reached."""
    server = account.server
    with _as_os_errors():
        kind = MailBox if server.tls else MailBoxUnencrypted
        box = kind(server.host, server.port, timeout=TIMEOUT_SECONDS)
    try:
        _log_in(box, account)
        yield box
    finally:
        _log_out(box)


def _log_in(box: BaseMailBox, account: ImapAccount) -> None:
    user, password = account.server.user, account.password.get_secret_value()
    log_in = box.login if (user + password).isascii() else box.login_utf8
    try:
        log_in(user, password, initial_folder=None)
    except imaplib.IMAP4.abort as error:
        raise _lost() from error
    # The server's own words are not passed on: they may hold the user's name.
    except (imaplib.IMAP4.error, MailboxLoginError):
        raise ConfigurationError(
            f"{account.server.host} refuses the login; check INGEST_IMAP_URL and INGEST_IMAP_PASSWORD"
            " (providers with two-factor login want an app password)"
        ) from None


def _log_out(box: BaseMailBox) -> None:
    try:
        box.client.logout()
    except (imaplib.IMAP4.error, OSError):
        # Whatever was to be said was said; the connection is closed either way.
        box.client.shutdown()


@contextmanager
def _as_os_errors() -> Iterator[None]:
    """A lost connection and an answer that is none, as the network trouble they are."""
    try:
        yield
    except imaplib.IMAP4.abort as error:
        raise _lost() from error
    except (imaplib.IMAP4.error, ImapToolsError) as error:
        raise OSError(errno.EPROTO, "unexpected answer of the mail server") from error


def _lost() -> OSError:
    return ConnectionResetError(errno.ECONNRESET, "connection lost")


def look_at(box: BaseMailBox, folder: str) -> Folder:
    """What is in a folder, without opening it. Raises ConfigurationError when there is no such folder."""
    with _as_os_errors():
        status, answer = box.client.status(encode_folder(folder).decode(), "(UIDVALIDITY UIDNEXT)")
    if status != "OK":
        raise ConfigurationError(f"no folder {folder!r} on {box.client.host}; check INGEST_IMAP_FOLDERS")
    # A name with special characters comes as a literal, which imaplib gives as a pair.
    line = b"".join(b"".join(part) if isinstance(part, tuple) else part or b"" for part in answer)
    found = {key: int(value) for key, value in re.findall(rb"(UIDVALIDITY|UIDNEXT) (\d+)", line)}
    return Folder(found.get(b"UIDVALIDITY", 0), found.get(b"UIDNEXT", 0))


def fetch_after(
    box: BaseMailBox, folder: str, uid: int, name: str, options: ReadOptions, now: datetime
) -> Iterator[Fetched]:
    """The messages above ``uid``, in order. ``name`` stands for the folder in the items. Raises OSError."""
    with _as_os_errors():
        box.folder.set(folder, readonly=True)
        # "5:*" names the last message even when it is below 5.
        uids = sorted(found for found in map(int, box.uids(f"UID {uid + 1}:*", charset=None)) if found > uid)
    for start in range(0, len(uids), LISTED):
        with _as_os_errors():
            listed = _list(box, uids[start : start + LISTED])
        for group in _groups(listed, options.max_message_bytes):
            with _as_os_errors():
                bodies = _bodies(box, [message for message in group if _is_wanted(message, options)])
            items = chain.from_iterable(_items(message, bodies, name, options, now) for message in group)
            yield Fetched(tuple(items), group[-1].uid)


def _list(box: BaseMailBox, uids: Sequence[int]) -> list[_Listed]:
    """Size, flags and arrival of messages. One that was deleted meanwhile has no size."""
    found: dict[int, _Listed] = {}
    for line in _fetch(box, uids, "(UID RFC822.SIZE FLAGS INTERNALDATE)"):
        head = line[0] if isinstance(line, tuple) else line
        uid, size, flags, arrived = (_first(pattern, head) for pattern in (_UID, _SIZE, _FLAGS, _ARRIVED))
        if uid and size:
            reasons = (_LEFT_OUT.get(flag) for flag in flags.lower().split())
            found[int(uid)] = _Listed(int(uid), int(size), next(filter(None, reasons), None), arrived)
    return [found.get(uid, _Listed(uid, 0, "deleted", b"")) for uid in uids]


def _groups(listed: Sequence[_Listed], max_bytes: int) -> Iterator[list[_Listed]]:
    group: list[_Listed] = []
    size = 0
    for message in listed:
        weight = 0 if message.reason or message.size > max_bytes else message.size
        if group and (size + weight > FETCH_BYTES or len(group) == FETCH_MESSAGES):
            yield group
            group, size = [], 0
        group.append(message)
        size += weight
    if group:
        yield group


def _is_wanted(message: _Listed, options: ReadOptions) -> bool:
    return message.reason is None and message.size <= options.max_message_bytes


def _bodies(box: BaseMailBox, messages: Sequence[_Listed]) -> dict[int, bytes]:
    """The messages by UID; those that the server does not give are missing."""
    if not messages:
        return {}
    found: dict[int, bytes] = {}
    lines = _fetch(box, [message.uid for message in messages], "(UID BODY.PEEK[])")
    for line, after in zip(lines, [*lines[1:], b""], strict=True):
        if isinstance(line, tuple):
            # Some servers name the UID behind the message.
            uid = _first(_UID, line[0]) or _first(_UID, after if isinstance(after, bytes) else b"")
            if uid:
                found[int(uid)] = line[1]
    return found


def _fetch(box: BaseMailBox, uids: Sequence[int], what: str) -> list[bytes | tuple[bytes, bytes]]:
    """The lines of an answer, one with a literal as a pair; those about a single message when the server says no."""
    status, lines = box.client.uid("FETCH", ",".join(map(str, uids)), what)
    if status != "OK" and len(uids) > 1:
        return [line for uid in uids for line in _fetch(box, [uid], what)]
    return [line for line in lines if line] if status == "OK" else []


def _items(
    message: _Listed, bodies: dict[int, bytes], name: str, options: ReadOptions, now: datetime
) -> tuple[Item, ...]:
    if message.reason is not None:
        return (Skipped(name, message.reason),)
    position = f"uid {message.uid}"
    if message.size > options.max_message_bytes:
        return (Rejected(name, position, f"the message is larger than {options.max_message_bytes} bytes"),)
    body = bodies.get(message.uid)
    if body is None:
        return (Rejected(name, position, "the server does not give this message"),)
    if not body.strip():
        return (Skipped(name, "empty"),)
    return read_mail(body, Location(name, position, message.arrived, "internal_date"), options, now)


def _first(pattern: re.Pattern[bytes], line: bytes) -> bytes:
    match = pattern.search(line)
    return match[1] if match else b""
