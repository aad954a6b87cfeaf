"""Opens Parquet files of any file system, those of the local disk without Python in between."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from jobs.engine.store.folder import Folder

AT_ONCE = 32
"""Small files of an object store that are asked for at the same time, and are in memory."""


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


def small_ones(folder: str, names: Sequence[str]) -> Iterator[pq.ParquetFile]:
    """Gives the Parquet files of these names, which fit into memory, in their order.

    Those of an object store are fetched whole, many at the same time: one after another, each would cost the time of
    two requests and more. FileNotFoundError where one is not there.
    """
    fs, root = Folder(folder).opened()
    if isinstance(fs, LocalFileSystem):
        for name in names:
            with opened(f"{folder}/{name}") as file:
                yield file
        return
    with ThreadPoolExecutor(AT_ONCE) as threads:
        for start in range(0, len(names), AT_ONCE):
            paths = [f"{root}/{name}" for name in names[start : start + AT_ONCE]]
            for content in threads.map(fs.cat_file, paths):
                yield pq.ParquetFile(pa.BufferReader(content))
