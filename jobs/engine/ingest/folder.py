"""A folder on any file system that fsspec writes: the pool that is made, and its interim files."""

import errno
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

UNFINISHED = ".unfinished"


@dataclass(frozen=True)
class Folder:
    """A folder by its URL, so that it travels to workers; local paths are absolute."""

    url: str

    @classmethod
    def at(cls, location: str) -> "Folder":
        """The folder at a path or URL as a person gives it."""
        fs, root = url_to_fs(location)
        return cls(root if isinstance(fs, LocalFileSystem) else location.rstrip("/"))

    def inner(self, name: str) -> "Folder":
        """A folder in this one."""
        return Folder(f"{self.url}/{name}")

    def opened(self) -> tuple[AbstractFileSystem, str]:
        """The file system, and the folder's path there."""
        return url_to_fs(self.url)

    def make(self) -> None:
        """Makes the folder and those above it."""
        fs, root = self.opened()
        fs.makedirs(root, exist_ok=True)

    def names(self) -> list[str]:
        """The names in the folder, sorted; none where there is no folder."""
        fs, root = self.opened()
        if not fs.exists(root):
            return []
        return sorted(path.rstrip("/").rsplit("/", 1)[-1] for path in fs.ls(root, detail=False, refresh=True))

    def remove(self, name: str = "") -> None:
        """Removes a file or a folder in this one, or all of it."""
        fs, root = self.opened()
        path = f"{root}/{name}" if name else root
        if fs.exists(path):
            fs.rm(path, recursive=True)

    def reading(self, name: str) -> BinaryIO:
        """The open file."""
        fs, root = self.opened()
        return cast(BinaryIO, fs.open(f"{root}/{name}", "rb"))

    @contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        """An open file that has its name only once it is whole; an OSError names the path.

        Object stores show a file when it is closed; elsewhere it is written under another name and renamed.
        """
        fs, root = self.opened()
        path = f"{root}/{name}"
        if not isinstance(fs, LocalFileSystem):
            with fs.open(path, "wb") as file:
                yield cast(BinaryIO, file)
            return
        unfinished = path + UNFINISHED
        try:
            with _NamedWrites(unfinished, path) as file:
                yield file
            os.replace(unfinished, path)
        except BaseException:
            if os.path.lexists(unfinished):
                os.unlink(unfinished)
            raise


class _NamedWrites(io.RawIOBase, BinaryIO):
    """A local file whose write errors say which file could not be written, and how far it got."""

    def __init__(self, path: str, name: str):
        super().__init__()
        self._name, self._written = name, 0
        self._file: Any = None
        self._file = self._naming(lambda: open(path, "wb"))

    def _naming(self, action: Any) -> Any:
        try:
            return action()
        except OSError as error:
            reason = f"{os.strerror(error.errno or errno.EIO)} after {self._written:,} bytes"
            raise OSError(error.errno, reason, self._name) from error

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        written = self._naming(lambda: self._file.write(data))
        self._written += written
        return written

    def flush(self) -> None:
        if self._file and not self._file.closed:
            self._naming(self._file.flush)

    def close(self) -> None:
        if not self.closed:
            super().close()
            if self._file:
                self._naming(self._synced)

    def _synced(self) -> None:
        with self._file:
            self._file.flush()
            os.fsync(self._file.fileno())
