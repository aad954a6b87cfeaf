"""A folder on any file system that fsspec writes, by its URL: a pool, a run's output, or a store."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import PurePath
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
    def at(cls, location: str | PurePath) -> "Folder":
        """Returns the folder at a path or URL as the user gives it."""
        fs, root = url_to_fs(str(location))
        return cls(root if isinstance(fs, LocalFileSystem) else str(location).rstrip("/"))

    def __str__(self) -> str:
        return self.url

    def inner(self, name: str) -> "Folder":
        """Returns the folder of this name inside this one."""
        return Folder(f"{self.url}/{name}")

    def file(self, name: str) -> str:
        """Returns the path or URL of the file of this name."""
        return f"{self.url}/{name}"

    def opened(self) -> tuple[AbstractFileSystem, str]:
        """Returns the file system, and the path of the folder there."""
        # A listing that was kept would hide what other processes have written since.
        return url_to_fs(self.url, use_listings_cache=False)

    @property
    def local(self) -> bool:
        """Whether the folder lies on a file system of this machine."""
        return isinstance(self.opened()[0], LocalFileSystem)

    def make(self) -> None:
        """Creates the folder and those above it."""
        fs, root = self.opened()
        fs.makedirs(root, exist_ok=True)

    def exists(self, name: str = "") -> bool:
        """Whether the file or folder of this name is there; with no name, the folder itself."""
        fs, root = self.opened()
        return fs.exists(f"{root}/{name}" if name else root)

    def names(self) -> list[str]:
        """Returns the names in the folder, sorted; an empty list where there is no folder."""
        fs, root = self.opened()
        if not fs.exists(root):
            return []
        return sorted(path.rstrip("/").rsplit("/", 1)[-1] for path in fs.ls(root, detail=False))

    def matching(self, pattern: str) -> list[str]:
        """Returns the paths or URLs of the files whose names match a glob, sorted; `**` goes into folders inside."""
        fs, root = self.opened()
        return sorted(f"{self.url}/{str(path)[len(root) + 1 :]}" for path in fs.glob(f"{root}/{pattern}"))

    def remove(self, name: str = "") -> None:
        """Removes the file or folder of this name; with no name, the folder itself. Nothing happens if it is gone."""
        fs, root = self.opened()
        path = f"{root}/{name}" if name else root
        if fs.exists(path):
            fs.rm(path, recursive=True)

    def reading(self, name: str) -> BinaryIO:
        """Opens the file of this name for reading."""
        fs, root = self.opened()
        return cast(BinaryIO, fs.open(f"{root}/{name}", "rb"))

    def content(self, name: str) -> bytes:
        """Returns the content of the file of this name. FileNotFoundError if it is not there."""
        fs, root = self.opened()
        return cast(bytes, fs.cat_file(f"{root}/{name}"))

    def writing(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Opens a file for writing, which gets this name once it is whole. An OSError names the path."""
        fs, root = self.opened()
        return whole_file(f"{root}/{name}", fs)

    def write(self, name: str, content: bytes) -> None:
        """Writes a file with this content, whole or not at all. An OSError names the path."""
        with self.writing(name) as file:
            file.write(content)
