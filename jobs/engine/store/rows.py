"""Reads the values of chosen samples from part files, several files at a time."""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.engine.store.parquet import opened

THREADS = 8
"""The most threads that read; a file of an object store is waited for, so there may be more than CPUs."""

Block = tuple[np.ndarray, np.ndarray]
"""Positions among the wanted ids, and the values there."""


@dataclass(frozen=True)
class Wanted:
    """The ids whose values are read, in the order in which a reader wants them."""

    ids: np.ndarray
    """Ascending, (n,) int64."""
    order: np.ndarray | None
    """The positions in the reader's order, (n,) int64; None where that is ascending."""

    @classmethod
    def of(cls, ids: np.ndarray) -> "Wanted":
        """These ids, in any order."""
        if len(ids) < 2 or (ids[1:] > ids[:-1]).all():
            return cls(ids, None)
        order = np.argsort(ids, kind="stable")
        return cls(ids[order], order)

    def inside(self, lowest: int, highest: int) -> bool:
        """Whether an id is between these, which count as well."""
        first, last = np.searchsorted(self.ids, [lowest, highest + 1])
        return bool(first < last)

    def matches(self, ids: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray | slice, np.ndarray]:
        """The rows with a value and a wanted id, and the reader's positions of these ids."""
        if not len(self.ids) or not len(ids):
            return slice(0, 0), np.empty(0, np.int64)
        places = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        hits = valid & (self.ids[places] == ids)
        every = bool(hits.all())
        places = places if every else places[hits]
        return slice(None) if every else np.flatnonzero(hits), places if self.order is None else self.order[places]


def blocks(paths: Sequence[str], wanted: Wanted, field: str) -> Iterator[Block]:
    """The values of the wanted ids, file after file; field: the field of structs, "" for the whole value."""
    threads = min(THREADS, len(paths), max(2, os.cpu_count() or 1))
    if threads < 2:
        for path in paths:
            yield from _blocks(path, wanted, field)
        return
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[list[Block]]] = deque()
        for path in paths:
            waiting.append(pool.submit(_blocks, path, wanted, field))
            if len(waiting) > threads:  # no more than this many files are in memory
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    pa.default_memory_pool().release_unused()  # Arrow keeps some hundred MB otherwise, beside which a kernel works


def _blocks(path: str, wanted: Wanted, field: str) -> list[Block]:
    column = f"value.{field}" if field else "value"
    found = []
    with opened(path) as file:
        for number in range(file.num_row_groups):
            if not _may_hold(file, number, wanted):
                continue
            # To decode a group takes several times its memory, and a file is too large for that.
            table = file.read_row_group(number, columns=["id", column], use_threads=False)
            if "value" not in table.column_names:  # a part with errors only has no such field
                return []
            values = table["value"].combine_chunks()
            rows, places = wanted.matches(table["id"].to_numpy(), values.is_valid().to_numpy(zero_copy_only=False))
            if len(places):
                found.append((places, _dense(values, rows, field)))
    return found


def _may_hold(file: pq.ParquetFile, number: int, wanted: Wanted) -> bool:
    """Whether a row group may have a wanted id, by its statistics."""
    known = file.metadata.row_group(number).column(0).statistics
    return known is None or not known.has_min_max or wanted.inside(known.min, known.max)


def _dense(values: pa.Array, rows: np.ndarray | slice, field: str) -> np.ndarray:
    if field:
        values = pc.call_function("struct_field", [values], pc.StructFieldOptions([field]))
    if pa.types.is_fixed_size_list(values.type):  # a view of the file's content: `take` would copy value by value
        size, flat = values.type.list_size, values.values
        begin = flat.offset + values.offset * size
        held = np.frombuffer(flat.buffers()[1], flat.type.to_pandas_dtype())
        return held[begin : begin + len(values) * size].reshape(len(values), size)[rows]
    if not isinstance(rows, slice):
        values = values.take(pa.array(rows))
    if pa.types.is_string(values.type) or pa.types.is_nested(values.type):
        items = np.empty(len(values), object)  # np.array would make a matrix of lists of equal length
        items[:] = values.to_pylist()
        return items
    return values.to_numpy(zero_copy_only=False)
