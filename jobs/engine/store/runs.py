"""Sorted runs: parquet files in the order of a key, and their merge into one order in bounded memory.

What is larger than memory is sorted in this way: tasks write runs, each run is read once from its beginning to its end,
and at most FAN_IN of them at a time.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.engine.store.folder import Folder

FAN_IN = 64
"""The most runs that are merged at once: each of them has a block of BLOCK_BYTES in memory."""
BLOCK_BYTES = 2 << 20


def write_run(folder: Folder, name: str, tables: Iterable[pa.Table], schema: pa.Schema, key: str) -> None:
    """Writes tables, which are in the order of the key one after another, as a run of this name."""
    with (
        folder.writing(name) as file,
        # Texts that never repeat make no dictionary, and only the key is ever looked up.
        pq.ParquetWriter(file, schema, compression="lz4", use_dictionary=False, write_statistics=[key]) as writer,  # pyright: ignore[reportArgumentType]
    ):
        for table in tables:
            for block in _blocks(table):
                writer.write_table(block, row_group_size=max(len(block), 1))


def _blocks(table: pa.Table) -> Iterator[pa.Table]:
    """The table in pieces of at most BLOCK_BYTES, or of one larger row."""
    if len(table) > 1 and table.nbytes > BLOCK_BYTES:
        half = len(table) // 2
        yield from _blocks(table[:half])
        yield from _blocks(table[half:])
    elif len(table):
        yield table


def joined(tables: Iterable[pa.Table], size: int) -> Iterator[pa.Table]:
    """Tables joined to ones of so many bytes, or of one table more."""
    held: list[pa.Table] = []
    for table in tables:
        held.append(table)
        if sum(each.nbytes for each in held) >= size:
            yield pa.concat_tables(held)
            held = []
    if held:
        yield pa.concat_tables(held)


def merged(folder: Folder, names: Sequence[str], key: str) -> Iterator[pa.Table]:
    """Gives the rows of all runs in the order of the key, in tables of a few blocks.

    Where several runs have a key once each, the row of the run that is named first comes first.
    """
    with ExitStack() as stack:
        runs = [_Run(stack.enter_context(folder.reading(name)), key) for name in names]
        while runs := [run for run in runs if run.has_rows()]:
            # No run has a further row below this key: its block would have ended before.
            bound = min(run.last() for run in runs)
            table = pa.concat_tables(run.taken(bound) for run in runs)
            order = np.argsort(table[key].to_numpy(), kind="stable")
            yield table.take(pa.array(order))


class _Run:
    """A run that is read block by block."""

    def __init__(self, file: BinaryIO, key: str):
        self.parquet, self.key = pq.ParquetFile(file), key
        self.following = 0
        self.keys, self.at = np.empty(0, np.int64), 0
        self.block: pa.Table = self.parquet.schema_arrow.empty_table()

    def has_rows(self) -> bool:
        """Whether there are rows that were not taken yet; reads the next block where it is needed."""
        while self.at == len(self.keys) and self.following < self.parquet.num_row_groups:
            self.block = self.parquet.read_row_group(self.following)
            self.keys, self.at = self.block[self.key].to_numpy(), 0
            self.following += 1
        return self.at < len(self.keys)

    def last(self) -> int:
        """The last key of the block."""
        return self.keys[-1]

    def taken(self, bound: int) -> pa.Table:
        """The rows of the block up to this key, which are not given again."""
        begin, self.at = self.at, int(np.searchsorted(self.keys, bound, side="right"))
        return self.block[begin : self.at]


def merge(folder: Folder, names: Sequence[str], key: str, name: str) -> str:
    """Merges runs into a run of this name, which it returns."""
    with folder.reading(names[0]) as file:
        schema = pq.read_schema(file)
    write_run(folder, name, merged(folder, names, key), schema, key)
    return name


Each = Callable[[Callable[..., str], Sequence[tuple]], list[str]]


def in_turn(function: Callable[..., str], calls: Sequence[tuple]) -> list[str]:
    """Calls a function with each of these arguments, one after the other."""
    return [function(*arguments) for arguments in calls]


def few(folder: Folder, names: Sequence[str], key: str, each: Each = in_turn, most: int | None = None) -> list[str]:
    """Returns at most so many runs with the rows of these runs, which are merged in groups where there are more.

    each: calls a function with each of the arguments in a list, and returns the results in order. most: None is FAN_IN.
    """
    names, level, most = list(names), 0, most or FAN_IN
    while len(names) > most:
        size = min(FAN_IN, math.ceil(len(names) / most))
        groups = [names[first : first + size] for first in range(0, len(names), size)]
        calls = [(folder, group, key, f"{level}-{number:06d}-{names[0]}") for number, group in enumerate(groups)]
        names, level = each(merge, calls), level + 1
    return names
