"""Near duplicates: samples that share most of their shingles with an earlier sample that stays.

    write_bands (per split) ─► candidates (per range of band keys) ─► group (once) ─► repeats (per lot of groups)

The bands of MinHash signatures say which samples may be alike. Samples that no chain of shared bands joins are decided
apart from one another, so that lots of them are decided at the same time. Within a lot each sample, in input order, is
compared exactly with the samples before it that stay. So each that is left out is as alike as the threshold asks to one
that stays, and a chain of small steps leaves nothing out that is far from its first sample.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.engine.ingest.before.rows import PLACEHOLDERS, at, conversations, unmarked
from jobs.engine.ingest.dedup import REPEATS, Marks, Placed, Placements
from jobs.engine.ingest.row_groups import rows_between
from jobs.engine.store.folder import Folder
from jobs.engine.store.runs import write_run
from operators.kernels.minhash import band_keys, banding, jaccard, shingles, signatures

BANDS = pa.schema([("key", pa.uint64()), ("position", pa.int64())])
EDGES = pa.schema([("first", pa.int64()), ("position", pa.int64())])
NEAR = pa.schema([*REPEATS, ("jaccard", pa.float64())])
"""Duplicates with their similarity to the first sample; null for a record that is the same."""

LOT_SAMPLES = 100_000
"""The number of samples that one task decides on, if no single group of candidates has more."""

SURELY_FURTHER = 0.25
"""Signatures that agree at a share of places this far below the threshold, five standard deviations or more, are not
compared exactly."""

NOT_COMPARED = ("system", "tools")
"""Many samples have the same long system message and the same tools, and are no duplicates for it."""


def bands_name(split: int) -> str:
    """The name of the interim file with the bands of a split's samples."""
    return f"bands-{split:06d}.parquet"


def edges_name(partition: int) -> str:
    """The name of the interim file with the candidates that a range of band keys gives."""
    return f"edges-{partition:06d}.parquet"


def lot_name(lot: int) -> str:
    """The name of the interim file with the positions of a lot."""
    return f"lot-{lot:06d}.npy"


def near_name(lot: int) -> str:
    """The name of the interim file with the near duplicates of a lot."""
    return f"near-{lot:06d}.parquet"


def compared(table: pa.Table) -> list[str]:
    """Returns the text of each sample that is compared; empty for a sample that is not, such as one with an image."""
    texts = ("\n".join(said) for said in conversations(table, NOT_COMPARED))
    shows = table["media"].to_pylist()
    return [
        "" if media or any(each in text for each in PLACEHOLDERS) else text
        for text, media in zip(texts, shows, strict=True)
    ]


def write_bands(split: Placed, marks: Marks, threshold: float, interim: Folder) -> str:
    """Writes the bands of the samples of a split, by key. Returns the name of the file."""
    bands, rows = banding(threshold)
    tables = [BANDS.empty_table()]
    for positions, table in unmarked(split, marks, interim, ["messages", "media"]):
        texts = compared(table)
        some = np.array([bool(text) for text in texts])
        if some.any():
            keys = keys_of([text for text in texts if text], bands, rows)
            columns = [keys.ravel(), np.repeat(positions[some], bands)]
            tables.append(pa.Table.from_arrays([pa.array(column) for column in columns], schema=BANDS))
    found = pa.concat_tables(tables)
    ordered = found.take(pa.array(np.argsort(found["key"].to_numpy(), kind="stable")))
    write_run(interim, bands_name(split.number), [ordered], BANDS, "key")
    return bands_name(split.number)


def keys_of(texts: Sequence[str], bands: int, rows: int) -> np.ndarray:
    """Returns the keys of the bands of each text: (texts, bands), uint64."""
    return band_keys(signatures(*shingles(texts), bands * rows), bands, rows)


def candidates(files: Sequence[str], partition: int, bounds: tuple[int, int], interim: Folder) -> int:
    """Writes which samples share a band whose key is in a range. Returns the number of pairs."""
    tables = [BANDS.empty_table()]
    for name in files:
        with interim.reading(name) as file:
            tables.append(rows_between(file, "key", *bounds))
    keys, positions = (column.to_numpy() for column in pa.concat_tables(tables).columns)
    found = sharing(keys, positions)
    with interim.writing(edges_name(partition)) as file:
        pq.write_table(pa.Table.from_arrays([pa.array(column) for column in found], schema=EDGES), file)
    return len(found[0])


def sharing(keys: np.ndarray, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns for each position whose key another one shares the first position with that key, and itself."""
    order = np.lexsort((positions, keys))
    keys, positions = keys[order], positions[order]
    same = np.zeros(len(keys), bool)
    same[1:] = keys[1:] == keys[:-1]
    starts = np.maximum.accumulate(np.where(same, 0, np.arange(len(keys))))
    return positions[starts[same]], positions[same]


def group(partitions: int, interim: Folder) -> int:
    """Writes the lots: the positions of samples that may be alike, the groups whole. Returns the number of lots."""
    tables = [EDGES.empty_table()]
    for partition in range(partitions):
        with interim.reading(edges_name(partition)) as file:
            tables.append(pq.read_table(file))
    lots = 0
    for lot in lots_of(*(column.to_numpy() for column in pa.concat_tables(tables).columns)):
        with interim.writing(lot_name(lots)) as file:
            file.write(lot.tobytes())
        lots += 1
    return lots


def lots_of(first: np.ndarray, position: np.ndarray) -> Iterator[np.ndarray]:
    """Gives the positions of connected samples in lots of about LOT_SAMPLES, each in ascending order."""
    if not len(first):
        return
    from scipy.sparse import coo_array  # noqa: PLC0415 - a task's alone
    from scipy.sparse.csgraph import connected_components  # noqa: PLC0415

    members, places = np.unique(np.concatenate([first, position]), return_inverse=True)
    ends = places[: len(first)], places[len(first) :]
    graph = coo_array((np.ones(len(first), bool), ends), (len(members), len(members)))
    _, labels = connected_components(graph, directed=False)
    sizes = np.bincount(labels)
    lot = (np.cumsum(sizes) - sizes) // LOT_SAMPLES  # of each group, by its first sample's place among all
    of = lot[labels]
    for number in np.unique(lot):
        yield members[of == number]


def repeats(lot: int, placements: Placements, threshold: float, interim: Folder) -> int:
    """Writes the near duplicates of a lot. Returns their number."""
    with interim.reading(lot_name(lot)) as file:
        positions = np.frombuffer(file.read(), np.int64)
    stays = Staying(threshold)
    found: list[tuple[int, int, int, float]] = []
    splits = np.searchsorted(placements.bounds(), positions, side="right") - 1
    for number in np.unique(splits):
        for here, table in at(
            placements.splits[number], positions[splits == number], interim, ["messages", "media", "line"]
        ):
            lines = dict(zip(here.tolist(), table["line"].fill_null(0).to_pylist(), strict=True))
            near = stays.repeats(here, compared(table))
            found += [(position, first, lines[position], similarity) for position, first, similarity in near]
    columns = zip(*found, strict=True) if found else ([], [], [], [])
    arrays = [pa.array(column, each.type) for column, each in zip(columns, NEAR, strict=True)]
    write_run(interim, near_name(lot), [pa.Table.from_arrays(arrays, schema=NEAR)], NEAR, "position")
    return len(found)


class Staying:
    """The samples that stay so far, of those that may be alike."""

    def __init__(self, threshold: float):
        self.threshold = threshold
        self.bands, self.rows = banding(threshold)
        self.positions: list[int] = []
        self.shingles: list[np.ndarray] = []
        self.signatures: list[np.ndarray] = []
        self.sharing: dict[int, list[int]] = defaultdict(list)
        """The samples that stay, by the keys of their bands."""

    def repeats(self, positions: np.ndarray, texts: Sequence[str]) -> Iterator[tuple[int, int, float]]:
        """Gives the position of each near duplicate, that of the first sample that it is like, and their similarity.

        The others stay. The positions ascend from call to call.
        """
        hashes, starts = shingles(texts)
        signed = signatures(hashes, starts, self.bands * self.rows)
        keys = band_keys(signed, self.bands, self.rows).tolist()
        for place, some in enumerate(np.split(hashes, starts[1:])):
            distinct = np.unique(some)
            if like := self._like(distinct, signed[place], keys[place]):
                yield int(positions[place]), *like
                continue
            for key in keys[place]:
                self.sharing[key].append(len(self.positions))
            self.positions.append(int(positions[place]))
            self.shingles.append(distinct)
            self.signatures.append(signed[place].copy())

    def _like(self, distinct: np.ndarray, signature: np.ndarray, keys: Sequence[int]) -> tuple[int, float] | None:
        for each in sorted({other for key in keys for other in self.sharing.get(key, ())}):
            other = self.shingles[each]
            if min(len(distinct), len(other)) < self.threshold * max(len(distinct), len(other)) - 1:
                continue
            if np.mean(self.signatures[each] == signature) < self.threshold - SURELY_FURTHER:
                continue
            similarity = jaccard(distinct, other)
            if similarity >= self.threshold:
                return self.positions[each], similarity
        return None
