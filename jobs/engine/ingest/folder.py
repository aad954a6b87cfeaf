"""A folder on any file system that fsspec writes: that of a pool, or of its interim files."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import BinaryIO, cast

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from jobs.engine.store.writing import whole_file


@dataclass(frozen=True)
class Folder:
    """A folder by its URL, which can be sent to workers. Local paths are absolute."""

    url: str

    @classmethod
    def at(cls, location: str) -> "Folder":
        """Returns the folder at a path or URL as the user gives it."""
        fs, root = url_to_fs(location)
        return cls(root if isinstance(fs, LocalFileSystem) else location.rstrip("/"))

    def inner(self, name: str) -> "Folder":
        """Returns the folder of this name inside this one."""
        return Folder(f"{self.url}/{name}")

    def opened(self) -> tuple[AbstractFileSystem, str]:
        """Returns the file system, and the path of the folder there."""
        return url_to_fs(self.url)

    def make(self) -> None:
        """Creates the folder and those above it."""
        fs, root = self.opened()
        fs.makedirs(root, exist_ok=True)

    def names(self) -> list[str]:
        """Returns the names in the folder, sorted; an empty list where there is no folder."""
        fs, root = self.opened()
        if not fs.exists(root):
            return []
        return sorted(path.rstrip("/").rsplit("/", 1)[-1] for path in fs.ls(root, detail=False, refresh=True))

    def remove(self, name: str = "") -> None:
        """Removes the file or folder of this name; with no name, the folder itself."""
        fs, root = self.opened()
        path = f"{root}/{name}" if name else root
        if fs.exists(path):
            fs.rm(path, recursive=True)

    def reading(self, name: str) -> BinaryIO:
        """Opens the file of this name for reading."""
        fs, root = self.opened()
        return cast(BinaryIO, fs.open(f"{root}/{name}", "rb"))

    def writing(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Opens a file for writing, which gets this name once it is whole. An OSError names the path."""
        fs, root = self.opened()
        return whole_file(f"{root}/{name}", fs)
