"""The inbox: folders ``crm/``, ``email/`` and ``chat/`` on any file system that fsspec knows."""

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, BinaryIO, cast
from zipfile import BadZipFile

import fsspec
from fsspec.implementations.local import LocalFileSystem

from ingest_pipeline.documents import Source
from ingest_pipeline.errors import ConfigurationError
from ingest_pipeline.sources import folder_options
from ingest_pipeline.sources.base import ReadOptions, SourceFile
from ingest_pipeline.sources.mapped import is_mapping

FOLDERS = (Source.CRM, Source.EMAIL, Source.CHAT)
_HASH_BLOCK = 1 << 20
# By convention a message's name begins with the second of its delivery and has no suffix.
_MAILDIR = re.compile(
    r"(email/(?:.*/)?)(?:cur|new)/(?![^/]*\.(?:eml|mbox|mboxrd|mbx|msg|pst|zip)$)(\d[^/]*?)(?:[:;!]2,[A-Za-z]*)?"
)
# A Maildir++ has its folders side by side, with a dot before the name.
_MAILDIR_FOLDER = re.compile(r"/\.(?!(?:trash|spam|junk|drafts)\b)[^/]+/(?=(?:cur|new|tmp)/)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Inbox:
    """An open inbox. ``url`` is as configured."""

    url: str
    filesystem: Any
    root: str

    def files(self, source: Source) -> Iterator[SourceFile]:
        """The files of one source, by name. Hidden ones are left alone, but not folders of a Maildir++ (``.Sent``)."""
        folder = f"{self.root.rstrip('/')}/{source.value}"
        if not self.filesystem.exists(folder):
            return
        found = self.filesystem.find(folder, detail=True)
        mapped = {path.rpartition("/")[0] for path in found if is_mapping(path)}
        delivered: set[str] = set()
        for path in sorted(found):
            name = f"{source.value}/{path[len(folder) :].lstrip('/')}"
            if is_left_alone(name):
                continue
            if _MAILDIR.fullmatch(name):
                name = lasting_name(name)
                # On its way from new to cur a message may be seen in both.
                if name in delivered:
                    continue
                delivered.add(name)
            info = found[path]
            is_mapped = path.rpartition("/")[0] in mapped
            yield SourceFile(name, int(info.get("size") or 0), modified(info), self._opener(path), is_mapped)

    def strangers(self) -> list[str]:
        """What lies beside the sources' folders, and is therefore read by nobody; hidden names are left out."""
        names = []
        for entry in self.filesystem.ls(self.root, detail=True):
            name = str(entry["name"]).rstrip("/").rpartition("/")[2]
            if name and name not in FOLDERS and not name.startswith("."):
                names.append(f"{name}/" if entry["type"] == "directory" else name)
        return sorted(names)

    def options(self, source: Source, options: ReadOptions) -> ReadOptions:
        """The options for one source's folder: its ``_source.yaml`` goes before the settings."""
        name = f"{source.value}/{folder_options.NAME}"
        path = f"{self.root.rstrip('/')}/{name}"
        if not self.filesystem.exists(path):
            return options
        return folder_options.apply_folder_options(options, self.filesystem.cat_file(path), name)

    def _opener(self, path: str) -> Callable[[], BinaryIO]:
        # The built-in open reads several times faster than fsspec's wrapper of it.
        if isinstance(self.filesystem, LocalFileSystem):
            return cast("Callable[[], BinaryIO]", partial(open, path, "rb"))
        return partial(self.filesystem.open, path, "rb")


def open_inbox(url: str) -> Inbox:
    """The inbox at a path or fsspec URL. Raises ConfigurationError when it is not there or cannot be reached."""
    try:
        filesystem, root = fsspec.core.url_to_fs(url)
        there = filesystem.isdir(root)
    except (ImportError, ValueError, OSError, BadZipFile) as error:
        raise ConfigurationError(f"cannot open the inbox {url}: {error}; check INGEST_INBOX") from None
    if not there:
        raise ConfigurationError(
            f"the inbox {url} does not exist; create it with folders crm/, email/, chat/, or set INGEST_INBOX"
        )
    inbox = Inbox(url, filesystem, root)
    if not any(filesystem.isdir(f"{root.rstrip('/')}/{source.value}") for source in FOLDERS):
        raise ConfigurationError(
            f"the inbox {url} has none of the folders crm/, email/, chat/; put your exports into them"
        )
    return inbox


def sha256(file: SourceFile) -> str:
    with file.opener() as stream:
        digest = hashlib.sha256()
        while block := stream.read(_HASH_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def is_left_alone(name: str) -> bool:
    """True for hidden files, system files and the folder's settings; ``name`` begins with the source's folder."""
    parts = _MAILDIR_FOLDER.sub("/", name).split("/")
    return any(part.startswith(".") or part == "__MACOSX" for part in parts) or parts[1] == folder_options.NAME


def lasting_name(name: str) -> str:
    """The name of a file for as long as it is the same file.

    Mail programs move a Maildir's messages from ``new`` to ``cur`` and keep their flags in the name, behind ``:2,``
    (``;2,`` or ``!2,`` where a file system has no colon). What stands before that never changes.
    """
    match = _MAILDIR.fullmatch(name)
    return f"{match[1]}cur/{match[2]}" if match is not None else name


def modified(info: dict[str, Any]) -> float:
    """Seconds since 1970, from whichever key the file system uses; 0 when it keeps no time."""
    for key in ("mtime", "LastModified", "updated", "last_modified", "modified", "created"):
        value = info.get(key)
        if isinstance(value, datetime):
            return value.timestamp()
        if isinstance(value, int | float):
            return float(value)
    return 0.0
