"""Rows of parquet and Arrow files by their numbers, with the types that they have there."""

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from jobs.engine.ingest.files.parquet import ARROW, BATCH_ROWS

PARQUET = b"PAR1"


def schema_at(file: BinaryIO) -> pa.Schema:
    """The schema of an open parquet or Arrow file, as `rows_at` gives its rows."""
    if _head(file, PARQUET):
        found = pq.ParquetFile(file).schema_arrow
    else:
        found = pa.ipc.open_file(file).schema if _head(file, ARROW) else pa.ipc.open_stream(file).schema
    return _without_views(found)


def _without_views(schema: pa.Schema) -> pa.Schema:
    """The schema with plain texts and bytes in place of views, of which Arrow can neither take nor sort rows."""
    return pa.schema([field.with_type(_plain(field.type)) for field in schema], metadata=schema.metadata)


def _plain(kind: pa.DataType) -> pa.DataType:
    views = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}
    if kind in views:
        return views[kind]
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_plain(field.type)) for field in kind])
    lists = {pa.types.is_list: pa.list_, pa.types.is_large_list: pa.large_list}
    made = next((made for is_one, made in lists.items() if is_one(kind)), None)
    return made(kind.value_field.with_type(_plain(kind.value_type))) if made else kind


def rows_at(file: BinaryIO, numbers: np.ndarray) -> Iterator[pa.Table]:
    """Gives the rows with these numbers, which ascend from 0, in a table per BATCH_ROWS or record batch that has some.

    Only the row groups that have some are read.
    """
    if _head(file, PARQUET):
        parquet = pq.ParquetFile(file)
        sizes = [parquet.metadata.row_group(group).num_rows for group in range(parquet.num_row_groups)]
        for group, rows in _within(sizes, numbers):
            # A batch at a time: from a column with 2 GiB of texts or bytes Arrow cannot take a row.
            yield from _taken(parquet.iter_batches(BATCH_ROWS, [group]), rows)
    elif _head(file, ARROW):
        reader = pa.ipc.open_file(file)
        batches = (reader.get_batch(number) for number in range(reader.num_record_batches))
        yield from _taken(batches, numbers)
    else:
        yield from _taken(iter(pa.ipc.open_stream(file)), numbers)


def _rows(table: pa.Table, numbers: np.ndarray) -> pa.Table:
    plain = _without_views(table.schema)
    return (table if plain == table.schema else table.cast(plain)).take(pa.array(numbers))


def _head(file: BinaryIO, mark: bytes) -> bool:
    file.seek(0)
    found = file.read(len(mark)) == mark
    file.seek(0)
    return found


def _within(sizes: list[int], numbers: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    ends = np.cumsum(sizes)
    group_of = np.searchsorted(ends, numbers, side="right")
    for group in np.unique(group_of).tolist():
        yield group, numbers[group_of == group] - (ends[group] - sizes[group])


def _taken(batches: Iterator[pa.RecordBatch], numbers: np.ndarray) -> Iterator[pa.Table]:
    first = 0
    for batch in batches:
        begin, end = np.searchsorted(numbers, [first, first + batch.num_rows])
        if begin < end:
            yield _rows(pa.Table.from_batches([batch]), numbers[begin:end] - first)
        first += batch.num_rows
