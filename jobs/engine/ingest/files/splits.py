"""The pieces of files that tasks read: byte ranges of lines, row groups of parquet, and other files whole."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count, repeat

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.engine.ingest.faults import FileFault
from jobs.engine.ingest.files.forms import HEAD_BYTES, Form, form_of
from jobs.engine.ingest.files.inputs import Source
from jobs.engine.ingest.files.streams import file_at
from jobs.engine.ingest.records.trees import MESSAGE, PARENT, TREE

READERS = 16


@dataclass(frozen=True)
class Split:
    """A piece of a file that one task reads."""

    source: int
    """The index of the file among the sources."""

    uri: str
    path: str
    form: Form | None = None
    """None where the task that reads the file decides."""
    start: int = 0
    stop: int | None = None
    """The byte range: what is read of lines; of a parquet file only what this piece hashes."""

    row_groups: tuple[int, ...] | None = None
    hash_block: int | None = None
    """The number of bytes per hashed block, if the file is read in several pieces."""

    array: str | None = None
    """The array of the file that is read; None for all that it has."""


def splits_of(sources: Sequence[Source], split_bytes: int) -> list[Split]:
    """Returns the splits of all sources, in order. Only large files are opened here."""
    with ThreadPoolExecutor(READERS) as threads:
        found = threads.map(_splits, count(), sources, repeat(split_bytes))
        return [split for splits in found for split in splits]


def _splits(place: int, source: Source, split_bytes: int) -> list[Split]:
    whole = [Split(place, source.uri, source.path, array=source.array)]
    if source.size is None or source.size <= split_bytes or source.array is not None:
        return whole
    try:
        with file_at(source.path) as file:
            form = form_of(file.read(HEAD_BYTES), source.uri)
            row_groups = _row_groups(pq.ParquetFile(file), split_bytes) if form == Form("parquet") else []
    except (OSError, FileFault, pa.ArrowException):
        return whole  # the task that reads the file reports what is wrong with it
    if form and form.splittable:
        return [
            Split(place, source.uri, source.path, form, start, min(start + split_bytes, source.size), None, split_bytes)
            for start in range(0, source.size, split_bytes)
        ]
    return _parquet_splits(place, source, source.size, row_groups) if len(row_groups) > 1 else whole


def _row_groups(parquet: pq.ParquetFile, split_bytes: int) -> list[tuple[int, ...]]:
    """Returns groups of row groups, each of about `split_bytes`; none where rows belong together."""
    if {TREE, MESSAGE, PARENT} <= set(parquet.schema_arrow.names):
        return []
    metadata = parquet.metadata
    groups: list[tuple[int, ...]] = []
    held: tuple[int, ...] = ()
    size = 0
    for group in range(metadata.num_row_groups):
        described = metadata.row_group(group)
        size += sum(described.column(column).total_compressed_size for column in range(described.num_columns))
        held += (group,)
        if size >= split_bytes:
            groups.append(held)
            held, size = (), 0
    return [*groups, held] if held else groups


def _parquet_splits(place: int, source: Source, size: int, row_groups: list[tuple[int, ...]]) -> list[Split]:
    block = -(-size // len(row_groups))
    return [
        Split(
            place, source.uri, source.path, Form("parquet"),
            min(number * block, size), min((number + 1) * block, size), groups, block,
        )
        for number, groups in enumerate(row_groups)
    ]  # fmt: skip
