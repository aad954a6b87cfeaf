"""The pieces of files that tasks read: byte ranges of .jsonl, row groups of .parquet, and other files whole."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.engine.ingest.files.inputs import Source
from jobs.engine.ingest.files.streams import COMPRESSIONS

FOOTER_READERS = 16


@dataclass(frozen=True)
class Split:
    """A piece of a file that one task reads."""

    source: int
    """The index of the file among the sources."""

    uri: str
    path: str
    form: Literal["lines", "json", "parquet"]
    compression: str | None
    start: int = 0
    stop: int | None = None
    """The byte range: what is read of a .jsonl file; of a .parquet file only what this piece hashes."""

    row_groups: tuple[int, ...] | None = None
    hash_block: int | None = None
    """The number of bytes per hashed block, if the file is read in several pieces."""


def splits_of(sources: Sequence[Source], split_bytes: int) -> list[Split]:
    """Returns the splits of all sources, in order."""
    with ThreadPoolExecutor(FOOTER_READERS) as threads:
        groups = list(threads.map(lambda source: _row_groups(source, split_bytes), sources))
    splits = []
    for place, (source, row_groups) in enumerate(zip(sources, groups, strict=True)):
        if row_groups and source.size is not None:
            splits.extend(_parquet_splits(place, source, source.size, row_groups))
        elif source.suffix == ".jsonl" and source.size is not None and source.size > split_bytes:
            for start in range(0, source.size, split_bytes):
                stop = min(start + split_bytes, source.size)
                splits.append(Split(place, source.uri, source.path, "lines", None, start, stop, None, split_bytes))
        else:
            splits.append(_whole(place, source))
    return splits


def _whole(place: int, source: Source) -> Split:
    form = "parquet" if source.suffix == ".parquet" else "lines" if source.suffix.startswith(".jsonl") else "json"
    ending = source.suffix[source.suffix.rindex(".") :]
    return Split(place, source.uri, source.path, form, COMPRESSIONS.get(ending))


def _row_groups(source: Source, split_bytes: int) -> list[tuple[int, ...]]:
    """Returns groups of row groups, each of about `split_bytes`; none if the file is small or is not parquet."""
    if source.suffix != ".parquet" or source.size is None or source.size <= split_bytes:
        return []
    try:
        with fsspec.open(source.path, "rb") as file:
            metadata = pq.ParquetFile(file).metadata
    except (OSError, pa.ArrowException):
        # The task that reads the whole file reports what is wrong with it.
        return []
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
    if len(row_groups) == 1:
        return [_whole(place, source)]
    block = -(-size // len(row_groups))
    return [
        Split(
            place, source.uri, source.path, "parquet", None,
            min(number * block, size), min((number + 1) * block, size), groups, block,
        )
        for number, groups in enumerate(row_groups)
    ]  # fmt: skip
