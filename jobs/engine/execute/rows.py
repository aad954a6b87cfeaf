"""The array arguments of a reduce: values in the store, which workers read themselves, or values in memory."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq

from jobs.engine.store.feature import Feature
from jobs.engine.store.folder import Folder

OBJECTS = 16
"""How many times their bytes in a file strings, lists and structs take as Python objects, about."""


class Stored(NamedTuple):
    """Values in the store, which the worker reads itself."""

    feature: Feature
    field: str
    ids: np.ndarray
    """The ids to read, in the order in which the kernel gets their values; (n,) int64."""


Rows = Stored | np.ndarray
"""One array argument of a kernel: values in the store, or values in memory."""


def count(rows: Rows) -> int:
    """The number of rows."""
    return len(rows.ids) if isinstance(rows, Stored) else len(rows)


def part(rows: Rows, start: int, stop: int) -> Rows:
    """The rows from `start` to before `stop`."""
    return rows._replace(ids=rows.ids[start:stop]) if isinstance(rows, Stored) else rows[start:stop]


def read(rows: Rows) -> np.ndarray:
    """The values of the rows in memory."""
    return rows.feature.values(rows.ids, rows.field) if isinstance(rows, Stored) else rows


def row_bytes(rows: Rows) -> float:
    """The bytes of memory that one row takes, about; of values in the store as the first part with values has them."""
    if not isinstance(rows, Stored):
        factor = OBJECTS if rows.dtype == object else 1
        return factor * rows.nbytes / max(len(rows), 1)
    fs, _ = Folder(rows.feature.folder).opened()
    for path in rows.feature.parts():
        with fs.open(path, "rb") as file:
            found = sum(_column_bytes(pq.ParquetFile(file), f"value.{rows.field}".rstrip(".")))
        if found:
            return found
    return 0.0


def _column_bytes(file: pq.ParquetFile, name: str) -> Iterator[float]:
    """The bytes in memory of one row of each primitive column of the value."""
    footer = file.metadata
    for at in range(footer.num_columns):
        column = footer.schema.column(at)
        # A vector is value.list.element; a field of structs value.field.
        if not f"{column.path}.".startswith(f"{name}.") or not footer.num_rows:
            continue
        stored = sum(
            footer.row_group(group).column(at).total_uncompressed_size for group in range(footer.num_row_groups)
        )
        plain = column.path == name or column.path == f"{name}.list.element"
        factor = 1 if plain and column.physical_type != "BYTE_ARRAY" else OBJECTS
        yield factor * stored / footer.num_rows
