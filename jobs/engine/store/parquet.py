"""Opens Parquet files of any file system, those of the local disk without Python in between."""

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from jobs.engine.store.folder import Folder


@contextmanager
def opened(path: str) -> Iterator[pq.ParquetFile]:
    """The Parquet file at a path or URL; FileNotFoundError where there is none."""
    fs, root = Folder(path).opened()
    if isinstance(fs, LocalFileSystem):
        with pq.ParquetFile(root) as file:  # threads read local files at the same time, without the lock of Python
            yield file
    else:
        with fs.open(root, "rb") as handle:
            yield pq.ParquetFile(handle)
