"""Reads the samples of a pool by id, one row group at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.engine.terminal.errors import UsageError
from jobs.engine.terminal.place_errors import naming
from operators.sample import MESSAGES

KNOWN_BY = {"conversation": "text_sha", "record": "sha"}
"""The hash column by which samples with equal values are found, by what the values belong to."""


@dataclass(frozen=True)
class Parts:
    """Part files of a pool in id order: file i holds the ids first[i] … first[i] + rows[i] - 1.

    A file is a name in the folder or, in a grown pool, the path or URL of a file of its parent.
    """

    folder: str
    files: tuple[str, ...]
    first: tuple[int, ...]
    rows: tuple[int, ...]

    def path(self, file: str) -> str:
        """The path or URL of a part file."""
        return file if file.startswith("/") or "://" in file else f"{self.folder}/{file}"

    def within(self, ids: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """The path of each part that has some of the ids (ascending), and the rows of these ids in the part."""
        bounds = np.searchsorted(ids, [*self.first, self.ids().stop])
        for file, first, begin, end in zip(self.files, self.first, bounds, bounds[1:], strict=False):
            if begin < end:
                yield self.path(file), ids[begin:end] - first

    def ranges(self, samples: int) -> Iterator["Parts"]:
        """The parts in groups of neighbours that have at least so many samples, except for the last group."""
        begin, held = 0, 0
        for at, rows in enumerate(self.rows):
            held += rows
            if held >= samples or at + 1 == len(self.rows):
                some = slice(begin, at + 1)
                yield Parts(self.folder, self.files[some], self.first[some], self.rows[some])
                begin, held = at + 1, 0

    def ids(self) -> range:
        """The ids in the parts."""
        return range(self.first[0], self.first[-1] + self.rows[-1]) if self.files else range(0)


def read_samples(parts: Parts, ids: np.ndarray, columns: Sequence[str]) -> Iterator[pa.Table]:
    """The samples with these ids (ascending), as tables of the columns; one table per row group, in order of id.

    UsageError for a column that the pool does not have; OSError that names the part where its place refuses.
    """
    for path, rows in parts.within(ids):
        with naming(path), fsspec.open(path, "rb") as file:
            parquet = pq.ParquetFile(file)
            _refuse_absent(path, columns, parquet.schema_arrow)
            sizes = [parquet.metadata.row_group(group).num_rows for group in range(parquet.num_row_groups)]
            ends = np.cumsum(sizes)
            group_of = np.searchsorted(ends, rows, side="right")
            for group in np.unique(group_of):
                begin = ends[group] - sizes[group]
                table = _of_today(parquet.read_row_group(int(group), columns=list(columns)))
                places = rows[group_of == group] - begin
                if places[-1] - places[0] + 1 == len(places):  # taking row by row would copy
                    yield table.slice(int(places[0]), len(places))
                else:
                    yield table.take(pa.array(places))


def _refuse_absent(path: str, columns: Sequence[str], schema: pa.Schema) -> None:
    """UsageError for a column that the samples of an earlier release do not have."""
    for name in columns:
        if name not in schema.names:
            raise UsageError(f"{path} has no column {name}: another version of Winnow made the pool; ingest it again")


def _of_today(table: pa.Table) -> pa.Table:
    """The table with all fields of a message; the pools of earlier releases have its role and its content only."""
    place = table.schema.get_field_index("messages")
    if place < 0 or table.schema.field(place).type == MESSAGES:
        return table
    return table.set_column(place, "messages", table["messages"].cast(MESSAGES))
