"""Reads ``.pst`` and ``.ost``: whole mailboxes of Outlook, over libpff. Folders are walked one message at a time."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Protocol

from ingest_pipeline.documents import Item, Rejected, Skipped, Source
from ingest_pipeline.errors import UnreadableFile
from ingest_pipeline.sources import outlook
from ingest_pipeline.sources.base import Export, Reader, ReadOptions, SourceFile
from ingest_pipeline.sources.charsets import decode_text
from ingest_pipeline.sources.mail import Location
from ingest_pipeline.sources.outlook import OutlookMessage, outlook_items
from ingest_pipeline.sources.signatures import once

PST_MAGIC = b"!BDN"
LIBRARY = "pypff"
MAX_DEPTH = 50

_FOLDERS = {
    "trash": (
        "deleted items", "gelöschte elemente", "gelöschte objekte", "éléments supprimés", "elementos eliminados",
        "posta eliminata", "verwijderde items", "slettet post", "slettede elementer", "borttaget", "elementy usunięte",
        "itens excluídos", "itens eliminados", "удаленные", "удаленные элементы", "削除済みアイテム", "已删除邮件",
    ),
    "spam": (
        "junk e-mail", "junk email", "junk-e-mail", "courrier indésirable", "correo no deseado", "posta indesiderata",
        "ongewenste e-mail", "uønsket mail", "søppelpost", "skräppost", "wiadomości-śmieci", "lixo eletrônico",
        "нежелательная почта", "迷惑メール", "垃圾邮件",
    ),
    "draft": (
        "drafts", "entwürfe", "brouillons", "borradores", "bozze", "concepten", "kladder", "utkast", "rascunhos",
        "wersje robocze", "черновики", "下書き", "草稿",
    ),
}  # fmt: skip
_REASONS = {name: reason for reason, names in _FOLDERS.items() for name in names}
"""Outlook's own folders of what is no mail that someone sent, by their names in its languages."""


class PstFolder(Protocol):
    """A folder as libpff gives it."""

    name: str | None
    number_of_sub_messages: int
    number_of_sub_folders: int

    def get_sub_message(self, index: int) -> Any: ...

    def get_sub_folder(self, index: int) -> "PstFolder": ...


def _detect(file: SourceFile, head: bytes) -> bool:
    # [MS-PST] 2.2.2.6: "SM" at 8 says that it holds messages.
    return head.startswith(PST_MAGIC) and head[8:10] in (b"SM", b"SO")


def _read(export: Export, options: ReadOptions) -> Iterator[Item]:
    for file in export.files:
        outlook.require(LIBRARY, file)
        yield from once(_file_items(file, options))


def _file_items(file: SourceFile, options: ReadOptions) -> Iterator[Item]:
    import pypff

    with file.opener() as stream:
        mailbox = pypff.file()
        try:
            mailbox.open_file_object(stream)
            root = mailbox.get_root_folder()
        except OSError as error:
            raise UnreadableFile(f"{file.name}: the mailbox is damaged or of an unknown kind") from error
        try:
            yield from folder_items(root, file.name, options, datetime.now(UTC))
        finally:
            mailbox.close()


def folder_items(root: PstFolder, name: str, options: ReadOptions, now: datetime) -> Iterator[Item]:
    """The items of all folders below ``root``. A damaged message or folder is rejected; the others go on."""
    waiting: list[tuple[PstFolder, str, str | None]] = [(root, "", None)]
    while waiting:
        folder, path, reason = waiting.pop()
        reason = reason or _REASONS.get((folder.name or "").strip().casefold())
        count = folder.number_of_sub_messages
        if reason and count:
            yield Skipped(name, reason, count)
        for index in range(0 if reason else count):
            yield from _message_items(folder, index, path, name, options, now)
        for index in reversed(range(folder.number_of_sub_folders)):
            try:
                below = folder.get_sub_folder(index)
            except OSError:
                yield Rejected(name, f"{path or '/'}, folder {index}", "this folder is damaged")
                continue
            if path.count("/") == MAX_DEPTH:
                yield Rejected(name, f"folder {index} at depth {MAX_DEPTH}", f"folders nested deeper than {MAX_DEPTH}")
            else:
                waiting.append((below, f"{path}/{(below.name or str(index)).replace('/', ' ')}", reason))


def _message_items(
    folder: PstFolder, index: int, path: str, name: str, options: ReadOptions, now: datetime
) -> tuple[Item, ...]:
    position = f"{path or '/'}, message {index}"
    try:
        found = folder.get_sub_message(index)
        message = _message(found, options.max_message_bytes)
        position = f"message {found.identifier}"
    except OSError:
        return (Rejected(name, position, "this message is damaged"),)
    if message is None:
        return (Rejected(name, position, f"the message is larger than {options.max_message_bytes} bytes"),)
    location = Location(name, position, metadata={"folder": path.lstrip("/")})
    return outlook_items(message, location, options, now)


def _message(found: Any, max_bytes: int) -> OutlookMessage | None:
    """The message, or None when its text is too large. Raises OSError for a damaged one."""
    text: dict[int, str] = {}
    numbers: dict[int, int] = {}
    for entry in _entries(found):
        if entry.entry_type in outlook.TEXTS and entry.data:
            text[entry.entry_type] = entry.get_data_as_string().replace("\x00", "")
        elif entry.entry_type == outlook.FLAGS:
            numbers[entry.entry_type] = entry.get_data_as_integer()
    text.setdefault(outlook.MESSAGE_CLASS, "unknown")
    if not text[outlook.MESSAGE_CLASS].lower().startswith("ipm.note"):
        return OutlookMessage(text, None)
    plain, html = found.plain_text_body or b"", found.html_body or b""
    if len(plain) > max_bytes or len(html) > max_bytes:
        return None
    return OutlookMessage(
        text=text,
        sent=_aware(found.client_submit_time) or _aware(found.delivery_time),
        flags=numbers.get(outlook.FLAGS, 0),
        body=_decoded(plain),
        html=_decoded(html),
        has_rtf=not plain and not html and bool(found.rtf_body),
    )


def _entries(found: Any) -> Iterator[Any]:
    """The properties of the message itself: its first record set. The others are of recipients."""
    if found.number_of_record_sets:
        record_set = found.get_record_set(0)
        for index in range(record_set.number_of_entries):
            yield record_set.get_entry(index)


def _decoded(raw: bytes | str) -> str:
    return raw if isinstance(raw, str) else decode_text(raw, "utf-8")[0]


def _aware(moment: datetime | None) -> datetime | None:
    """libpff gives naive times in UTC, and the year 1601 for none."""
    return moment.replace(tzinfo=UTC) if moment is not None and moment.year > 1601 else None


READER = Reader(
    format="pst", source=Source.EMAIL, detect=_detect, read=_read, version=outlook.reader_version(1, LIBRARY)
)
