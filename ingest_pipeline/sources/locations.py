"""Files as somebody names them: a file or folder, local or at any fsspec URL, inside the inbox or elsewhere."""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, BinaryIO, cast
from zipfile import BadZipFile

import fsspec
from fsspec.implementations.local import LocalFileSystem

from ingest_pipeline.documents import Source
from ingest_pipeline.errors import ConfigurationError
from ingest_pipeline.sources import folder_options
from ingest_pipeline.sources.base import ReadOptions, SourceFile
from ingest_pipeline.sources.inbox import FOLDERS, is_left_alone, modified
from ingest_pipeline.sources.mapped import MAPPING


@dataclass(frozen=True, slots=True)
class Located:
    """A file that somebody named, or one of a folder that they named.

    ``path`` is that of its file system. ``source`` is the inbox folder it lies in, None outside the inbox.
    ``named``: it was named itself, and not a folder above it.
    """

    file: SourceFile
    path: str
    source: Source | None
    named: bool = True


@dataclass(frozen=True, slots=True)
class FolderOptions:
    """The options in force for a file, and the ``_source.yaml`` that they come from, if one does.

    ``problem``: what is wrong with it; then nothing that it holds for would be read.
    """

    options: ReadOptions
    file: str | None = None
    problem: str = ""


class Place:
    """What one path or URL stands for. Raises ConfigurationError when there is nothing or it cannot be reached."""

    def __init__(self, url: str, inbox: str) -> None:
        self._url = url
        self._filesystem, self._root = _open(url)
        self._is_local = isinstance(self._filesystem, LocalFileSystem)
        self._inbox = self._root_of_inbox(inbox)
        self._options: dict[str, FolderOptions] = {}
        try:
            self._is_folder = self._filesystem.isdir(self._root)
            there = self._is_folder or self._filesystem.exists(self._root)
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"cannot reach {url}: {error}") from None
        if not there:
            raise ConfigurationError(f"{url} does not exist")

    def files(self) -> Iterator[Located]:
        """The file, or those of the folder by name without hidden ones. A table comes with its ``mapping.yaml``."""
        if not self._is_folder:
            yield from self._file_with_mapping()
            return
        found = self._filesystem.find(self._root, detail=True)
        mapped = {_folder(path) for path in found if path.rpartition("/")[2] == MAPPING}
        for path in sorted(found):
            # The name as the inbox sees it: a folder of a source, then the path.
            name = f"folder/{path[len(self._root) :].lstrip('/')}"
            if not is_left_alone(name) and not path.endswith(f"/{folder_options.NAME}"):
                yield self._located(path, found[path], mapped=_folder(path) in mapped, named=False)

    def options(self, located: Located, general: ReadOptions) -> FolderOptions:
        """Inside the inbox those of its source's folder; elsewhere the nearest ``_source.yaml``, beside or above."""
        folder = f"{self._inbox}/{located.source}" if located.source else _folder(located.path)
        if folder not in self._options:
            self._options[folder] = self._find_options(folder, general, upwards=located.source is None)
        return self._options[folder]

    def _find_options(self, folder: str, general: ReadOptions, upwards: bool) -> FolderOptions:
        while True:
            path = _in(folder, folder_options.NAME)
            if self._filesystem.exists(path):
                return self._read_options(path, general)
            if not upwards or not folder:
                return FolderOptions(general)
            folder = _folder(folder)

    def _read_options(self, path: str, general: ReadOptions) -> FolderOptions:
        name = self._name(path)
        try:
            content = self._filesystem.cat_file(path)
            return FolderOptions(folder_options.apply_folder_options(general, content, name), name)
        except ConfigurationError as error:
            return FolderOptions(general, name, str(error).removeprefix(f"{name}: "))
        except OSError as error:
            return FolderOptions(general, name, error.strerror or "cannot be read")

    def _file_with_mapping(self) -> Iterator[Located]:
        mapping = _in(_folder(self._root), MAPPING)
        mapped = mapping != self._root and self._filesystem.exists(mapping)
        yield self._located(self._root, self._filesystem.info(self._root), mapped=mapped, named=True)
        if mapped:
            yield self._located(mapping, self._filesystem.info(mapping), mapped=True, named=True)

    def _located(self, path: str, info: dict[str, Any], *, mapped: bool, named: bool) -> Located:
        name = self._name(path)
        source = next((s for s in FOLDERS if self._inside(path) and name.startswith(f"{s.value}/")), None)
        file = SourceFile(name, int(info.get("size") or 0), modified(info), self._opener(path), mapped)
        return Located(file, path, source, named)

    def _name(self, path: str) -> str:
        """Inside the inbox the path in it, as lineage has it; elsewhere as the caller wrote it."""
        if self._inside(path):
            return path[len(self._inbox or "") :].lstrip("/")
        if self._is_local and path.startswith(self._root):
            return self._url.rstrip("/") + path[len(self._root) :]
        return path

    def _inside(self, path: str) -> bool:
        return self._inbox is not None and path.startswith(f"{self._inbox}/")

    def _root_of_inbox(self, inbox: str) -> str | None:
        with suppress(ConfigurationError):
            filesystem, root = _open(inbox)
            if filesystem == self._filesystem:
                return root.rstrip("/")
        return None

    def _opener(self, path: str) -> Callable[[], BinaryIO]:
        if self._is_local:
            return cast("Callable[[], BinaryIO]", partial(open, path, "rb"))
        return partial(self._filesystem.open, path, "rb")


def _open(url: str) -> tuple[Any, str]:
    """The file system and the path in it; a path of this machine may hold what elsewhere is part of a URL."""
    if os.path.exists(url):
        return LocalFileSystem(), os.path.realpath(url)
    try:
        filesystem, root = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError, OSError, BadZipFile) as error:
        raise ConfigurationError(f"cannot open {url}: {error}") from None
    return filesystem, os.path.realpath(root) if isinstance(filesystem, LocalFileSystem) else root.rstrip("/")


def _in(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _folder(path: str) -> str:
    return path.rpartition("/")[0]
