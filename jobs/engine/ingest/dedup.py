"""The second pass: finds exact duplicates by partitions of the content hash, and the ids that follow.

The keys of neighbouring splits are sorted together and merged into a few runs, from which each partition reads its
range. The number of files that are opened therefore grows with the splits, and not with splits times partitions.

A position counts all valid samples in input order, duplicates included. A sample's id is its position minus the number
of duplicates before it. One bit per position says whether it is a duplicate: a billion positions take 160 MB.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.engine.ingest.parse import keys_name
from jobs.engine.ingest.row_groups import rows_between
from jobs.engine.store.folder import Folder
from jobs.engine.store.runs import few, merged, write_run

PARTITION_ROWS = 4_000_000
GROUP_SPLITS = 1024
KEY_FILES = 16
"""The most files of sorted keys: each partition opens all of them, and so must not have more in a larger corpus."""
DUPLICATES_AT_ONCE = 1 << 20
BLOCK_BITS = 256
RANK_AT_ONCE = 65_536
HASHES = 1 << 64

SORTED = pa.schema([("head", pa.uint64()), ("tail", pa.uint64()), ("position", pa.int64()), ("line", pa.int64())])
REPEATS = pa.schema([("position", pa.int64()), ("first", pa.int64()), ("line", pa.int64())])
DUPLICATES = pa.schema([("source", pa.string()), ("line", pa.int64()), ("id", pa.int64())])
NEAR_DUPLICATES = pa.schema([*DUPLICATES, ("jaccard", pa.float64())])
"""With the similarity of a near duplicate to the sample that it repeats; null for an exact one."""


@dataclass(frozen=True)
class Placed:
    """The samples of a split: the number of its interim files, and the place of its samples among all."""

    number: int
    uri: str
    samples: int
    position: int
    """The position of the split's first sample."""

    lines_before: int


@dataclass(frozen=True)
class Placements:
    """The splits that have samples, in order of input."""

    splits: tuple[Placed, ...]

    @property
    def samples(self) -> int:
        """The number of valid samples, duplicates included."""
        return self.splits[-1].position + self.splits[-1].samples if self.splits else 0

    def bounds(self) -> np.ndarray:
        """The position of each split's first sample, and the number of all samples at the end."""
        return np.array([*(split.position for split in self.splits), self.samples], dtype=np.int64)


@dataclass(frozen=True)
class Marks:
    """Which positions are duplicates."""

    bits: np.ndarray
    """uint8, eight positions per byte, in blocks of 256 positions."""

    before: np.ndarray
    """int64: the number of marked positions before each block."""

    @classmethod
    def of(cls, positions: Iterator[np.ndarray], samples: int) -> "Marks":
        """Returns the marks at these positions, each in [0, samples)."""
        bits = np.zeros((samples // BLOCK_BITS + 1) * BLOCK_BITS // 8, dtype=np.uint8)
        for marked in positions:
            np.bitwise_or.at(bits, marked >> 3, (0x80 >> (marked & 7)).astype(np.uint8))
        counts = np.bitwise_count(bits) if hasattr(np, "bitwise_count") else _bit_counts()[bits]
        blocks = counts.reshape(-1, BLOCK_BITS // 8).sum(axis=1, dtype=np.int64)
        return cls(bits, np.cumsum(blocks) - blocks)

    def within(self, begin: int, end: int) -> np.ndarray:
        """Returns a bool per position in [begin, end): whether it is marked."""
        spread = np.unpackbits(self.bits[begin >> 3 : (end + 7) >> 3])
        return spread[begin & 7 : (begin & 7) + end - begin].astype(bool)

    def ranks(self, positions: np.ndarray) -> np.ndarray:
        """Returns the number of marked positions before each of these positions."""
        ranks = np.empty(len(positions), dtype=np.int64)
        blocks = self.bits.reshape(-1, BLOCK_BITS // 8)
        for begin in range(0, len(positions), RANK_AT_ONCE):
            some = positions[begin : begin + RANK_AT_ONCE]
            block, offset = some // BLOCK_BITS, some % BLOCK_BITS
            spread = np.unpackbits(blocks[block], axis=1)
            earlier = np.arange(BLOCK_BITS) < offset[:, None]
            ranks[begin : begin + RANK_AT_ONCE] = self.before[block] + (spread & earlier).sum(axis=1)
        return ranks


def _bit_counts() -> np.ndarray:
    return np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(axis=1, dtype=np.uint8)


def partitions_of(samples: int, partition_rows: int = PARTITION_ROWS) -> list[tuple[int, int]]:
    """Returns the range of each partition, in the first 64 bits of the hash."""
    count = max(1, -(-samples // partition_rows))
    bounds = [HASHES * number // count for number in range(count + 1)]
    return list(pairwise(bounds))


def repeats_name(partition: int) -> str:
    """The name of the interim file with the duplicates of a partition."""
    return f"repeats-{partition:06d}.parquet"


def groups_of(placements: Placements) -> list[tuple[Placed, ...]]:
    """Returns neighbouring splits in groups, each of PARTITION_ROWS samples or GROUP_SPLITS splits, whichever is first.

    The keys of a group are sorted together, so that each split is opened once, and not once per partition.
    """
    groups: list[tuple[Placed, ...]] = []
    held: list[Placed] = []
    for split in placements.splits:
        held.append(split)
        if len(held) == GROUP_SPLITS or sum(each.samples for each in held) >= PARTITION_ROWS:
            groups.append(tuple(held))
            held = []
    return [*groups, tuple(held)] if held else groups


def sort_keys(splits: Sequence[Placed], group: int, interim: Folder) -> list[str]:
    """Sorts the keys of a group of splits by the head, PARTITION_ROWS at a time. Returns the names of the runs."""
    names = []
    for number, table in enumerate(_keys(splits, interim)):
        names.append(f"sorted-{group:06d}-{number:04d}.parquet")
        write_run(interim, names[-1], [table.take(pa.array(np.argsort(table["head"].to_numpy())))], SORTED, "head")
    return names


def _keys(splits: Sequence[Placed], interim: Folder) -> Iterator[pa.Table]:
    """The keys of some splits with the positions of their samples, in tables of at most PARTITION_ROWS."""
    held: list[pa.Table] = []
    for split in splits:
        position = split.position
        with interim.reading(keys_name(split.number)) as file:
            for batch in pq.ParquetFile(file).iter_batches(PARTITION_ROWS):
                positions = pa.array(np.arange(position, position + len(batch)))
                columns = [batch["head"], batch["tail"], positions, batch["line"]]
                position += len(batch)
                if sum(map(len, held)) + len(batch) > PARTITION_ROWS and held:
                    yield pa.concat_tables(held)
                    held = []
                held.append(pa.Table.from_arrays(columns, schema=SORTED))
    if held:
        yield pa.concat_tables(held)


def find_repeats(files: Sequence[str], partition: int, bounds: tuple[int, int], interim: Folder) -> int:
    """Writes the duplicates of a partition, each with the position of the first equal sample. Returns their number.

    files: the runs of `sort_keys`, or fewer that these were merged into.
    """
    tables = [SORTED.empty_table()]
    for name in files:
        with interim.reading(name) as file:
            tables.append(rows_between(file, "head", *bounds))
    head, tail, position, line = (column.to_numpy() for column in pa.concat_tables(tables).columns)
    order = _sharing(head)
    order = order[np.lexsort((position[order], tail[order], head[order]))]
    same = np.zeros(len(order), dtype=bool)
    same[1:] = (np.diff(head[order]) == 0) & (np.diff(tail[order]) == 0)
    starts = np.maximum.accumulate(np.where(same, 0, np.arange(len(order))))
    columns = (position[order][same], position[order][starts][same], line[order][same])
    table = pa.Table.from_arrays([pa.array(column) for column in columns], schema=REPEATS).sort_by("position")
    write_run(interim, repeats_name(partition), [table], REPEATS, "position")
    return len(table)


def _sharing(heads: np.ndarray) -> np.ndarray:
    """The places of the heads that occur more than once. Few do, and only these are compared further."""
    order = np.argsort(heads)
    equal = heads[order[1:]] == heads[order[:-1]]
    sharing = np.zeros(len(order), dtype=bool)
    sharing[1:] |= equal
    sharing[:-1] |= equal
    return order[sharing]


def mark_repeats(placements: Placements, names: Sequence[str], interim: Folder) -> tuple[Marks, dict[int, int]]:
    """Returns the marks of the samples in some files, and their number in each split, by the split's number."""
    marks = Marks.of(positions_in(names, interim), placements.samples)
    counts = np.diff(marks.ranks(placements.bounds()))
    return marks, {split.number: int(count) for split, count in zip(placements.splits, counts, strict=True)}


def positions_in(names: Sequence[str], interim: Folder) -> Iterator[np.ndarray]:
    """Gives the positions in some interim files, a part at a time."""
    for name in names:
        with interim.reading(name) as file:
            for batch in pq.ParquetFile(file).iter_batches(columns=["position"]):
                yield batch["position"].to_numpy()


def write_duplicates(
    placements: Placements, marks: Marks, names: Sequence[str], schema: pa.Schema, interim: Folder, pool: Folder
) -> int:
    """Writes duplicates.parquet in input order. Returns the number of its rows.

    names: the interim files of the duplicates. schema: DUPLICATES, or NEAR_DUPLICATES where these files have it.
    """
    starts = placements.bounds()[:-1]
    lines_before = np.array([split.lines_before for split in placements.splits], dtype=np.int64)
    uris = pa.array([split.uri for split in placements.splits], pa.string())
    written = 0
    with (
        pool.writing("duplicates.parquet") as file,
        pq.ParquetWriter(file, schema, compression="zstd") as writer,
    ):
        for table in _in_order(names, interim):
            position, first, line = (table[name].to_numpy() for name in REPEATS.names)
            split = np.searchsorted(starts, position, side="right") - 1
            ids = first - marks.ranks(first)
            columns = [uris.take(pa.array(split)), pa.array(line + lines_before[split]), pa.array(ids)]
            more = [table[name] for name in schema.names[len(DUPLICATES) :]]
            writer.write_table(pa.Table.from_arrays([*columns, *more], schema=schema))
            written += len(table)
    return written


def _in_order(names: Sequence[str], interim: Folder) -> Iterator[pa.Table]:
    """The duplicates of all files by position, in tables of about DUPLICATES_AT_ONCE; one at least."""
    with interim.reading(names[0]) as file:
        held = [pq.read_schema(file).empty_table()]
    runs = few(interim, names, "position")
    for table in merged(interim, runs, "position"):
        held.append(table)
        if sum(map(len, held)) >= DUPLICATES_AT_ONCE:
            yield pa.concat_tables(held)
            held = []
    if held:
        yield pa.concat_tables(held)
