"""Files that are either whole under their name or not there, on any file system that fsspec writes."""

import errno
import io
import os
import re
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

UNFINISHED = re.compile(r"\.[0-9a-f]{32}\.tmp")
"""The name of a file that is being written: hidden, and unlike any other, so that two tasks may write one file."""

T = TypeVar("T")


@contextmanager
def whole_file(path: str | Path, fs: AbstractFileSystem | None = None) -> Iterator[BinaryIO]:
    """Opens a file that gets its name when the block has ended, and is removed if the block raises.

    fs: where the path is; the local file system if None. An OSError of a write names the path.
    """
    if fs is None or isinstance(fs, LocalFileSystem):
        with _local_file(Path(path)) as file:
            yield file
        return
    # Closing a remote file that is written to directly would show what is there of it, also after an error.
    with tempfile.NamedTemporaryFile() as file:
        yield cast(BinaryIO, file)
        file.flush()
        fs.put_file(file.name, str(path))


def write_atomically(fs: AbstractFileSystem, path: str, content: bytes) -> None:
    """Writes a file with this content, whole or not at all. OSError names the path."""
    with whole_file(path, fs) as file:
        file.write(content)


def remove_unfinished(folder: Path) -> None:
    """Removes from a local folder the files that a process was writing when it was killed."""
    for path in folder.iterdir():
        if UNFINISHED.fullmatch(path.name):
            path.unlink(missing_ok=True)


@contextmanager
def _local_file(path: Path) -> Iterator[BinaryIO]:
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        with _NamedWrites(temporary, path) as file:
            yield file
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


class _NamedWrites(io.RawIOBase, BinaryIO):
    """A local file whose write errors say which file could not be written, and after how many bytes."""

    def __init__(self, temporary: Path, path: Path):
        super().__init__()
        self._path, self._written = str(path), 0
        self._file: Any = None
        self._file = self._naming(lambda: temporary.open("wb"))

    def _naming(self, action: Callable[[], T]) -> T:
        try:
            return action()
        except OSError as error:
            reason = f"{os.strerror(error.errno or errno.EIO)} after {self._written:,} bytes"
            raise OSError(error.errno, reason, self._path) from error

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
