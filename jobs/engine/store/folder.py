"""A folder on any file system that fsspec writes, by its URL: a pool, a run's output, or a store."""

import os
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from glob import has_magic
from pathlib import PurePath
from typing import BinaryIO, cast

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem
from fsspec.utils import glob_translate

from jobs.engine.store.writing import UNFINISHED, whole_file
from jobs.engine.terminal.place_errors import naming

OBJECT_STORES = frozenset(("abfs", "abfss", "az", "gcs", "gs", "oss", "r2", "s3", "s3a"))
"""The protocols of stores that have no folders: the name of an object says which one it is in."""

LOCAL = ("file://", "local://")


def opened(url: str) -> tuple[AbstractFileSystem, str]:
    """Returns the file system of a path or URL, and the path there."""
    # A listing that was kept would hide what other processes have written since.
    return url_to_fs(url, use_listings_cache=False)


@dataclass(frozen=True)
class Folder:
    """A folder by its URL, which can be sent to workers. Local paths are absolute."""

    url: str

    @classmethod
    def at(cls, location: str | PurePath) -> "Folder":
        """Returns the folder at a path or URL as the user gives it."""
        given = str(location)
        if "://" in given and not given.startswith(LOCAL):
            return cls(given.rstrip("/"))
        return cls(str(LocalFileSystem._strip_protocol(given)))

    def __str__(self) -> str:
        """The folder as a message names it: inside the working directory by its relative path."""
        here = os.path.join(os.getcwd(), "")
        return os.path.relpath(self.url) if self.local and f"{self.url}/".startswith(here) else self.url

    def inner(self, name: str) -> "Folder":
        """Returns the folder of this name inside this one."""
        return Folder(f"{self.url}/{name}")

    def file(self, name: str) -> str:
        """Returns the path or URL of the file of this name."""
        return f"{self.url}/{name}"

    def opened(self) -> tuple[AbstractFileSystem, str]:
        """Returns the file system, and the path of the folder there."""
        return opened(self.url)

    @property
    def local(self) -> bool:
        """Whether the folder lies on a file system of this machine."""
        return "://" not in self.url

    def make(self) -> None:
        """Creates the folder and those above it; an object store has no folders, and nothing is done there."""
        fs, root = self.opened()
        protocols = (fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol
        if not OBJECT_STORES.intersection(protocols):
            with naming(self.url):
                fs.makedirs(root, exist_ok=True)

    def exists(self, name: str = "") -> bool:
        """Whether the file or folder of this name is there; with no name, the folder itself."""
        fs, root = self.opened()
        with naming(self.file(name)):
            return fs.exists(f"{root}/{name}" if name else root)

    def names(self) -> list[str]:
        """Returns the names in the folder, sorted; an empty list where there is no folder."""
        fs, root = self.opened()
        with naming(self.url):
            try:
                paths = [str(path) for path in fs.ls(root, detail=False)]
            except FileNotFoundError:
                return []
        # A folder that was made in the console of an object store is an empty object, which is listed in itself.
        return sorted(path.rstrip("/").rsplit("/", 1)[-1] for path in paths if path != f"{root}/")

    def matching(self, pattern: str) -> list[str]:
        """Returns the paths or URLs of the files whose names match a glob, sorted; `**` goes into folders inside."""
        fs, root = self.opened()
        wanted = re.compile(glob_translate(pattern))  # of the names alone: a bracket in the folder's path is no pattern
        with naming(self.url):
            names = [str(path)[len(root) + 1 :] for path in fs.find(root)]
        return sorted(self.file(name) for name in names if name and wanted.match(name))

    def remove(self, name: str = "") -> None:
        """Removes the file or folder of this name; with no name, the folder itself. Nothing happens if it is gone."""
        fs, root = self.opened()
        path = f"{root}/{name}" if name else root
        with naming(self.file(name)), suppress(FileNotFoundError):  # another process may remove it at the same time
            if not self.local and has_magic(path):  # `rm` takes it for a pattern, and finds nothing
                for file in fs.find(path):
                    fs.rm_file(file)
            elif fs.exists(path):
                fs.rm(path, recursive=True)

    def remove_files(self, names: Sequence[str]) -> None:
        """Removes the files of these names, of an object store many in a request."""
        fs, root = self.opened()
        with naming(self.url):
            if self.local or has_magic(root) or not names:
                for name in names:
                    fs.rm_file(f"{root}/{name}")
            else:
                fs.rm([f"{root}/{name}" for name in names])

    def remove_unfinished(self) -> None:
        """Removes the files that a process was writing when it was killed."""
        for name in self.names():
            if UNFINISHED.fullmatch(name):
                self.remove(name)

    def reading(self, name: str) -> BinaryIO:
        """Opens the file of this name for reading."""
        fs, root = self.opened()
        with naming(self.file(name)):
            return cast(BinaryIO, fs.open(f"{root}/{name}", "rb"))

    def content(self, name: str) -> bytes:
        """Returns the content of the file of this name. FileNotFoundError if it is not there."""
        fs, root = self.opened()
        with naming(self.file(name)):
            return cast(bytes, fs.cat_file(f"{root}/{name}"))

    def writing(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Opens a file for writing, which gets this name once it is whole. An OSError names the path."""
        fs, root = self.opened()
        return whole_file(f"{root}/{name}", fs)

    def write(self, name: str, content: bytes) -> None:
        """Writes a file with this content, whole or not at all. An OSError names the path."""
        with self.writing(name) as file:
            file.write(content)
