"""The third pass: writes the part files of the pool, with dense ids, and their shares of its fingerprint."""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from heapq import merge
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.engine.ingest.dedup import Marks, Placed, Placements
from jobs.engine.ingest.parse import rows_name
from jobs.engine.ingest.records.quarantine import final_lines
from jobs.engine.ingest.row_groups import GROUP_BYTES, GROUP_ROWS, sample_writer
from jobs.engine.store.folder import Folder
from operators.sample import SAMPLE

PART_ROWS = 65_536
SUM_MODULUS = 1 << 256


@dataclass(frozen=True)
class Batch:
    """Neighbouring splits whose samples one task writes, with their first part and first id."""

    splits: tuple[Placed, ...]
    samples: int
    first_part: int
    first_id: int

    def part_count(self) -> int:
        """The number of part files that the batch fills."""
        return -(-self.samples // PART_ROWS)

    def parts(self) -> list[dict]:
        """Returns the part files as pool.json lists them."""
        listed = []
        for number in range(self.part_count()):
            rows = min(PART_ROWS, self.samples - number * PART_ROWS)
            first = self.first_id + number * PART_ROWS
            listed.append({"file": part_name(self.first_part + number), "first": first, "rows": rows})
        return listed


def part_name(number: int) -> str:
    """The name of a part file."""
    return f"part-{number:05d}.parquet"


def batches_of(placements: Placements, left_out: Mapping[int, int]) -> list[Batch]:
    """Returns the batches in order: small splits together up to the rows of one part, a large split by itself.

    left_out: the number of samples of each split, by its number, that are no samples of the pool.
    """
    batches: list[Batch] = []
    held: list[Placed] = []
    rows = first_part = first_id = 0
    for split in placements.splits:
        samples = split.samples - left_out[split.number]
        if held and rows + samples > PART_ROWS:
            batches.append(Batch(tuple(held), rows, first_part, first_id))
            first_part, first_id = first_part + batches[-1].part_count(), first_id + rows
            held, rows = [], 0
        if samples:
            held.append(split)
            rows += samples
    return [*batches, Batch(tuple(held), rows, first_part, first_id)] if held else batches


def write_parts(batch: Batch, marks: Marks, interim: Folder, pool: Folder) -> tuple[int, "Shares"]:
    """Writes the part files of a batch. Returns the number of rows, and their shares of the fingerprints' sums."""
    tables = _kept(batch, marks, interim)
    written, shares = 0, Shares()
    waiting: list[pa.Table] = []
    for part in batch.parts():
        with pool.writing(part["file"]) as file, sample_writer(file, SAMPLE) as writer:
            left = part["rows"]
            while left:
                group, waiting = _group(tables, waiting, min(left, GROUP_ROWS))
                first = part["first"] + part["rows"] - left
                numbered = _numbered(group, first)
                writer.write_table(numbered, row_group_size=GROUP_ROWS)
                shares += Shares.of(first, group)
                left -= len(group)
                written += len(group)
    return written, shares


def _kept(batch: Batch, marks: Marks, interim: Folder) -> Iterator[pa.Table]:
    """Gives the samples that are not left out, one row group of an interim file at a time."""
    for split in batch.splits:
        with interim.reading(rows_name(split.number)) as file:
            parquet = pq.ParquetFile(file)
            at = split.position
            for number in range(parquet.num_row_groups):
                table = parquet.read_row_group(number)
                left_out = marks.within(at, at + len(table))
                at += len(table)
                yield _sourced(table.filter(pa.array(~left_out)) if left_out.any() else table, split)


def _sourced(table: pa.Table, split: Placed) -> pa.Table:
    lines = pa.array(table["line"].to_numpy() + split.lines_before)
    source = pa.repeat(split.uri, len(table))
    return table.set_column(table.schema.get_field_index("line"), "line", lines).append_column("source", source)


def _group(tables: Iterator[pa.Table], waiting: list[pa.Table], rows: int) -> tuple[pa.Table, list[pa.Table]]:
    """Returns the next row group, of `rows` samples or fewer very large ones, and the samples after it."""
    count, size = sum(map(len, waiting)), sum(table.nbytes for table in waiting)
    while count < rows and size < GROUP_BYTES and (following := next(tables, None)) is not None:
        waiting.append(following)
        count, size = count + len(following), size + following.nbytes
    held = pa.concat_tables(waiting)
    return held[:rows], [held[rows:]] if len(held) > rows else []


def _numbered(group: pa.Table, first: int) -> pa.Table:
    ids = pa.array(np.arange(first, first + len(group), dtype=np.int64))
    return group.append_column("id", ids).select(SAMPLE.names).cast(SAMPLE)


class Shares(NamedTuple):
    """What some samples add to the two sums behind a pool's fingerprints. `+` adds shares."""

    records: int = 0
    texts: int = 0

    @classmethod
    def of(cls, first: int, table: pa.Table) -> "Shares":
        """Returns the shares of the samples in a table, whose ids begin with `first`."""
        return cls(*(fingerprint_share(first, table[name].to_pylist()) for name in ("sha", "text_sha")))

    def __add__(self, other: "Shares") -> "Shares":  # pyright: ignore[reportIncompatibleMethodOverride]
        return Shares(*((mine + theirs) % SUM_MODULUS for mine, theirs in zip(self, other, strict=True)))


def fingerprint_share(first: int, shas: Sequence[bytes]) -> int:
    """Returns the sum of SHA-256(id, sha), as a number, over some samples. The total is the same for any division."""
    return sum(
        int.from_bytes(hashlib.sha256(number.to_bytes(8, "big") + sha).digest(), "big")
        for number, sha in enumerate(shas, first)
    )


def fingerprints(samples: int, shares: Sequence[Shares]) -> dict[str, str]:
    """Returns a pool's `fingerprint`, of its records, and its `text_fingerprint`, of their messages, in hex."""
    total = sum(shares, Shares())
    return {
        "fingerprint": fingerprint(samples, [total.records]),
        "text_fingerprint": fingerprint(samples, [total.texts]),
    }


def fingerprint(samples: int, shares: Sequence[int]) -> str:
    """Returns the fingerprint, in hex, of this number of samples, from the shares of their parts."""
    total = sum(shares) % SUM_MODULUS
    return hashlib.sha256(samples.to_bytes(8, "big") + total.to_bytes(32, "big")).hexdigest()


def join_quarantine(splits: Sequence[tuple[Placed, Sequence[str]]], interim: Folder, pool: Folder) -> int:
    """Writes quarantine.jsonl from the splits with quarantined records. Returns the number of its lines.

    splits: each with the names of its interim files of such records.
    """
    written = 0
    with pool.writing("quarantine.jsonl") as joined:
        for split, names in splits:
            with ExitStack() as stack:
                files = [stack.enter_context(interim.reading(name)) for name in names]
                ordered = merge(*files, key=_line) if len(files) > 1 else files[0]
                for line in final_lines(ordered, split.uri, split.lines_before):
                    joined.write(line)
                    written += 1
    return written


def _line(interim: bytes) -> float:
    """The number of the line of a quarantined record, in its split; infinity for a fault of the file."""
    number, _, _ = interim.partition(b"\t")
    return int(number) if number else math.inf
