"""The samples in the interim files: those that are not left out yet, those at some positions, and what they say."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.engine.ingest.dedup import Marks, Placed
from jobs.engine.ingest.parse import rows_name
from jobs.engine.ingest.records.contents import MEDIA
from jobs.engine.store.folder import Folder
from operators.sample import MORE

ASIDE = pa.schema(
    [("position", pa.int64()), ("kind", pa.string()), ("message", pa.dictionary(pa.int32(), pa.string()))]
)
"""Samples that are set aside, and why."""

PLACEHOLDERS = tuple(f"<{kind}>" for kind in sorted(set(MEDIA.values())))


class Rows(NamedTuple):
    """Some samples of a split."""

    positions: np.ndarray
    table: pa.Table


def unmarked(split: Placed, marks: Marks, interim: Folder, columns: Sequence[str]) -> Iterator[Rows]:
    """Gives the samples of a split without a mark, one row group at a time."""
    wanted = np.flatnonzero(~marks.within(split.position, split.position + split.samples)) + split.position
    return at(split, wanted, interim, columns)


def at(split: Placed, positions: np.ndarray, interim: Folder, columns: Sequence[str]) -> Iterator[Rows]:
    """Gives the samples of a split at these positions, which ascend, one row group at a time."""
    with interim.reading(rows_name(split.number)) as file:
        parquet = pq.ParquetFile(file)
        begin = split.position
        for group in range(parquet.num_row_groups):
            end = begin + parquet.metadata.row_group(group).num_rows
            here = positions[np.searchsorted(positions, begin) : np.searchsorted(positions, end)]
            if len(here):
                yield Rows(here, parquet.read_row_group(group, list(columns)).take(pa.array(here - begin)))
            begin = end


def conversations(table: pa.Table, without: Sequence[str]) -> Iterator[list[str]]:
    """Gives the texts of each sample's messages: what they say, think and call. without: roles that are passed over."""
    messages = table["messages"].combine_chunks()
    messages = messages.chunk(0) if isinstance(messages, pa.ChunkedArray) else messages
    items = messages.flatten()
    roles, contents, *more = (items.field(name).to_pylist() for name in ("role", "content", *MORE[:2]))
    begin = 0
    for count in messages.value_lengths().to_pylist():
        end = begin + count
        yield [
            "\n".join(filter(None, (contents[each], *(column[each] for column in more))))
            for each in range(begin, end)
            if roles[each] not in without
        ]
        begin = end
