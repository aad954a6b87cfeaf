"""Values taken over by content: a sample gets the value, or the error, of another with the same hash."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.engine.store.feature import Feature
from jobs.engine.store.folder import Folder
from jobs.engine.store.hashes import SHA, Hashes, ascending, halves, hashes, joined
from jobs.engine.store.parquet import opened

Valid = Callable[[pa.Array], np.ndarray]
"""A function from values to whether each may be taken over; (rows,) bool."""


@dataclass
class Lacking:
    """Samples without a value, in the order of their hashes, so that one pass over the parts finds all of them."""

    ids: np.ndarray
    """(n,) int64."""
    starts: np.ndarray
    """Where the samples with each different hash begin, and the end; int64."""
    different: Hashes
    done: np.ndarray
    """Whether the sample has been given something; (n,) bool."""
    given: int = 0
    """The number of those."""

    @classmethod
    def of(cls, missing: pa.Table) -> "Lacking":
        """The samples of a table (id, sha), which is ascending by id."""
        order, first, last = ascending(*halves(hashes(missing["sha"])))
        new = np.ones(len(order), bool)
        new[1:] = (first[1:] != first[:-1]) | (last[1:] != last[:-1])
        starts = np.append(np.flatnonzero(new), len(order))
        different = Hashes.of(first[new], last[new])
        return cls(missing["id"].to_numpy()[order], starts, different, np.zeros(len(order), bool))

    def shas(self, places: np.ndarray) -> bytes:
        """The hashes of the samples at these positions, one after another."""
        held = np.searchsorted(self.starts, places, side="right") - 1
        return joined(self.different.first[held], self.different.last[held])

    def repeats(self) -> np.ndarray:
        """The ids of the samples whose hash is that of an earlier one."""
        again = np.ones(len(self.ids), bool)
        again[self.starts[:-1]] = False
        return self.ids[again]

    def found(self, shas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows with these hashes (rows,), and the positions here that each gives something; each position once."""
        first, last = halves(shas)
        order = np.argsort(first, kind="stable")  # searched in this order, neighbours are found in the cache
        held = self.different.positions(first[order], last[order])
        order, held = order[held >= 0], held[held >= 0]
        begins, counts = self.starts[held], self.starts[held + 1] - self.starts[held]
        rows = np.repeat(order, counts)
        places = np.repeat(begins - np.cumsum(counts) + counts, counts) + np.arange(len(rows))
        places, unique = np.unique(places, return_index=True)
        fresh = ~self.done[places]
        self.done[places] = True
        self.given += int(fresh.sum())
        return rows[unique][fresh], places[fresh]


def take_over(feature: Feature, others: Sequence[Feature], lacking: Lacking, valid: Valid | None = None) -> int:
    """Copies into `feature` the values that others have for samples that lack one.

    A value belongs to the content that the sha is the hash of. So the sha decides, and the id in the other feature does
    not matter. `others` may hold `feature` itself. valid: whether each of their values may be copied; None for all.
    Returns the number of samples that have been given something.
    """
    for other in others:
        for file, rows, places in _hits(other, lacking, failed=False, valid=valid):
            values = file.read(columns=["value"])["value"].combine_chunks().take(pa.array(rows))
            _write(feature, lacking, places, values, [None] * len(rows))
    return lacking.given


def share_errors(feature: Feature, lacking: Lacking) -> None:
    """Writes for samples that lack a value the errors that the feature has for samples with the same sha."""
    for file, rows, places in _hits(feature, lacking, failed=True):
        errors = file.read(columns=["error"])["error"].take(pa.array(rows)).to_pylist()
        _write(feature, lacking, places, pa.nulls(len(rows)), errors)


def _hits(
    feature: Feature, lacking: Lacking, failed: bool, valid: Valid | None = None
) -> Iterator[tuple[pq.ParquetFile, np.ndarray, np.ndarray]]:
    """The parts with something for samples that lack it: the part, its rows, and the positions of the samples."""
    fs, _ = Folder(feature.folder).opened()
    for path in feature.parts():
        if lacking.given == len(lacking.ids):
            return
        with opened(fs.unstrip_protocol(path)) as file:
            table = file.read(columns=["sha", "error"])
            held = np.flatnonzero(table["error"].is_valid().to_numpy() == failed)
            if valid and len(held):
                held = held[valid(file.read(columns=["value"])["value"].combine_chunks().take(pa.array(held)))]
            rows, places = lacking.found(hashes(table["sha"])[held])
            if len(rows):
                yield file, held[rows], places


def _write(feature: Feature, lacking: Lacking, places: np.ndarray, values: pa.Array, errors: list[str | None]) -> None:
    content = pa.py_buffer(lacking.shas(places))
    shas = pa.Array.from_buffers(pa.binary(SHA.itemsize), len(places), [None, content])
    feature.write(lacking.ids[places], shas, values, errors)
