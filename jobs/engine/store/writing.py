"""Files that are either whole under their name or not there, on any file system that fsspec writes."""

import errno
import os
import re
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

from jobs.engine.terminal.place_errors import naming

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""The errors of the operating system where there is no room for what is written."""

UNFINISHED = re.compile(r"\.[0-9a-f]{32}\.tmp")
"""The name of a file that is being written: hidden, and unlike any other, so that two tasks may write one file."""


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
        with _named_in(file.name):
            yield cast(BinaryIO, file)
            file.flush()
        with naming(fs.unstrip_protocol(str(path))):
            fs.put_file(file.name, str(path))


def write_atomically(fs: AbstractFileSystem, path: str, content: bytes) -> None:
    """Writes a file with this content, whole or not at all. OSError names the path."""
    with whole_file(path, fs) as file:
        file.write(content)


@contextmanager
def _named_in(temporary: str) -> Iterator[None]:
    """An OSError of a write to a temporary file, which names no file, is raised with the file and what to do."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno not in FULL:
            raise
        reason = f"{os.strerror(error.errno)} where files are made before they are sent (TMPDIR names another folder)"
        raise OSError(error.errno, reason, temporary) from error


@contextmanager
def _local_file(path: Path) -> Iterator[BinaryIO]:
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if error.filename not in (None, str(temporary)):  # of another file, which the block uses
            raise
        # Of a failed write the system names neither the file nor how much of it there was room for.
        size = temporary.stat().st_size if temporary.exists() else 0
        reason = f"{os.strerror(error.errno or errno.EIO)} after {size:,} bytes"
        raise OSError(error.errno, reason, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)
