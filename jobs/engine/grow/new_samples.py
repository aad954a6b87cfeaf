"""New samples from the values of a generating operator, written to part files by Ray tasks."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray

from jobs.engine.ingest.parts import PART_ROWS, Shares, part_name
from jobs.engine.ingest.records.formats import read
from jobs.engine.ingest.records.hashes import hashes
from jobs.engine.ingest.records.records import record_of
from jobs.engine.ingest.records.written import written
from jobs.engine.ingest.row_groups import GROUP_ROWS, sample_writer
from jobs.engine.ingest.tasks import fetched
from jobs.engine.samples.reading import Parts, read_samples
from jobs.engine.store.feature import ERROR, VALUE, Feature
from jobs.engine.store.folder import Folder, opened
from operators.sample import SAMPLE

SHA = np.dtype("S16")
KEPT = [name for name in SAMPLE.names if name not in ("rejected", "label")]
"""The columns of a sample that a new one is made from: a rejected answer and a label say nothing of a new answer."""

Turn = Callable[[Mapping[str, Any], Mapping[str, Any]], tuple[str, str, str]]
"""A function from a sample's row and the operator's value to instruction, input and response of the new sample."""


@dataclass(frozen=True)
class Made:
    """The results of a generating operator for some samples. Its values are structs with an `outcome`."""

    ids: np.ndarray
    """The samples whose outcome is empty, which means that there is a text to continue with; ascending int64."""
    lost: Mapping[str, int]
    """The number of the other samples per outcome or kind of error."""
    folder: str
    parts: tuple[str, ...]
    """The feature's part files."""
    lowest: np.ndarray
    """The lowest id in each part; (parts,) int64."""
    highest: np.ndarray
    """The highest id in each part; (parts,) int64."""

    def near(self, ids: np.ndarray) -> "Nearby":
        """The feature, reduced to the parts that may contain some of these ids (ascending, at least one)."""
        hits = np.flatnonzero((self.highest >= ids[0]) & (self.lowest <= ids[-1]))
        return Nearby(self.folder, tuple(self.parts[hit] for hit in hits))


@dataclass(frozen=True)
class Nearby(Feature):
    """A feature of which only some parts are read. Reading all parts for each block of ids would be quadratic."""

    chosen: tuple[str, ...]

    def parts(self) -> list[str]:
        """The paths of these parts."""
        return list(self.chosen)


def made(feature: Feature, ids: np.ndarray) -> Made:
    """The results in a feature for these ids (ascending), read in a Ray task."""
    return fetched(_made.remote(feature, ids))


@ray.remote(num_cpus=1)
def _made(feature: Feature, ids: np.ndarray) -> Made:
    parts = feature.parts()
    spans = np.array([_span(feature, part) for part in parts], np.int64).reshape(-1, 2)
    states = feature.states(int(max(spans[:, 1].max(initial=-1), ids.max(initial=-1))) + 1)
    valued = ids[states[ids] == VALUE]
    outcomes = feature.values(valued, "outcome").tolist()
    failed = set(ids[states[ids] == ERROR].tolist())
    kinds = {sample: error.partition(":")[0] for sample, error in feature.errors() if sample in failed}
    lost = Counter([*filter(None, outcomes), *kinds.values()])
    good = valued[np.array([not outcome for outcome in outcomes], bool)]
    return Made(good, dict(sorted(lost.items())), feature.folder, tuple(parts), spans[:, 0], spans[:, 1])


def _span(feature: Feature, part: str) -> tuple[int, int]:
    fs, _ = opened(feature.folder)
    with fs.open(part, "rb") as file:
        ids = pq.ParquetFile(file).read(columns=["id"])["id"].to_numpy()
    return int(ids.min()), int(ids.max())


@dataclass(frozen=True)
class NewSamples:
    """New samples, each of which is a sample of a pool with another turn."""

    parts: Parts
    made: Made
    turn: Turn
    columns: Mapping[str, str]
    """The columns that the pool's records were ingested with."""

    def shas(self) -> np.ndarray:
        """The hashes of the new samples' messages, in the order of the ids in `made`; (made,) S16."""
        blocks = _blocks(self.made.ids)
        tasks = [_shas.remote(self.parts, self.made.near(block), self.turn, self.columns, block) for block in blocks]
        return np.concatenate([np.empty(0, SHA), *fetched(tasks)])

    def write(self, folder: Folder, ids: np.ndarray, first: int) -> tuple[list[dict[str, Any]], list[Shares]]:
        """Writes the new samples that are made from these ids (ascending); their own ids count up from `first`.

        Returns the part files as pool.json lists them, and their shares of the pool's fingerprints.
        """
        blocks = _blocks(ids)
        parts = [
            {"file": part_name(number), "first": first + number * PART_ROWS, "rows": len(block)}
            for number, block in enumerate(blocks)
        ]
        tasks = [
            _written.remote(self.parts, self.made.near(block), self.turn, self.columns, block, folder, part)
            for part, block in zip(parts, blocks, strict=True)
        ]
        return parts, fetched(tasks)


def _blocks(ids: np.ndarray) -> list[np.ndarray]:
    return [ids[begin : begin + PART_ROWS] for begin in range(0, len(ids), PART_ROWS)]


def _tables(
    parts: Parts, values: Feature, turn: Turn, columns: Mapping[str, str], ids: np.ndarray
) -> Iterator[pa.Table]:
    """The new samples that are made from these ids, one table per row group; `id` is still the old sample's."""
    for begin in range(0, len(ids), GROUP_ROWS):
        some = ids[begin : begin + GROUP_ROWS]
        rows = pa.concat_tables(read_samples(parts, some, KEPT)).to_pylist()
        for row, value in zip(rows, values.values(some), strict=True):
            row["raw"] = written(row["raw"], *turn(row, value), columns)
            record = record_of(row["raw"], sys.maxsize)
            found = read(record, columns)
            row["messages"] = found.messages
            row["text_sha"], row["sha"], _ = hashes(record, found, row["raw"])
        yield pa.Table.from_pylist(rows, SAMPLE)


@ray.remote(num_cpus=1)
def _shas(parts: Parts, values: Feature, turn: Turn, columns: Mapping[str, str], ids: np.ndarray) -> np.ndarray:
    tables = _tables(parts, values, turn, columns, ids)
    return np.array([each for table in tables for each in table["text_sha"].to_pylist()], SHA)


@ray.remote(num_cpus=1)
def _written(
    parts: Parts,
    values: Feature,
    turn: Turn,
    columns: Mapping[str, str],
    ids: np.ndarray,
    folder: Folder,
    part: dict[str, Any],
) -> Shares:
    shares, first = Shares(), part["first"]
    with folder.writing(part["file"]) as file, sample_writer(file, SAMPLE) as writer:
        for table in _tables(parts, values, turn, columns, ids):
            numbers = pa.array(np.arange(first, first + len(table)))
            writer.write_table(table.set_column(SAMPLE.get_field_index("id"), "id", numbers))
            shares += Shares.of(first, table)
            first += len(table)
    return shares
