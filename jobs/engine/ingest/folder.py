"""A folder on any file system that fsspec writes: the pool that is made, and its interim files."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import BinaryIO, cast

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from jobs.engine.store.writing import whole_file


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

    def writing(self, name: str) -> AbstractContextManager[BinaryIO]:
        """An open file that gets its name once it is whole. An OSError names the path."""
        fs, root = self.opened()
        return whole_file(f"{root}/{name}", fs)
