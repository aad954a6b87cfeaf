"""The end of the steps: what repeats a sample that is left out shares its fate, and what is set aside is written."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.engine.ingest.before.near import NEAR
from jobs.engine.ingest.before.rows import ASIDE, at
from jobs.engine.ingest.dedup import Marks, Placed, Placements, mark_repeats
from jobs.engine.ingest.faults import Piece, RecordFault
from jobs.engine.ingest.parse import left_out_name
from jobs.engine.ingest.records.quarantine import interim_line
from jobs.engine.ingest.row_groups import rows_between
from jobs.engine.store.folder import Folder
from jobs.engine.store.runs import write_run

REPEATED = "settled-repeats.parquet"
SET_ASIDE = "settled-aside.parquet"


Counts = dict[int, Counter[str]]
"""The number of samples that are set aside, by split and kind."""


def settle(
    placements: Placements, exact: Sequence[str], near: Sequence[str], aside: Sequence[str], interim: Folder
) -> tuple[Marks, dict[int, int], Counts]:
    """Writes all duplicates, each with a sample of the pool that it repeats, and all samples that are set aside.

    A duplicate of a near duplicate repeats what that repeats. A duplicate of a sample that is set aside is set aside
    for the same reason. Returns the marks of both, the number of duplicates by split, and that of the others.
    """
    alike, apart = _table(near, NEAR, interim), _table(aside, ASIDE, interim)
    same = _table(exact, NEAR, interim)
    first, similarity = _through(same["first"].to_numpy(), alike)
    same = same.set_column(1, "first", pa.array(first)).set_column(3, "jaccard", similarity)
    repeats = pa.concat_tables([same, alike]).sort_by("position")
    gone, place = _found(repeats["first"].to_numpy(), apart["position"].to_numpy())
    moved = apart.take(pa.array(place[gone])).set_column(0, "position", repeats["position"].filter(pa.array(gone)))
    apart = pa.concat_tables([apart, moved]).unify_dictionaries().combine_chunks().sort_by("position")
    repeats = repeats.filter(pa.array(~gone))
    write_run(interim, REPEATED, [repeats], NEAR, "position")
    write_run(interim, SET_ASIDE, [apart], ASIDE, "position")
    marks, _ = mark_repeats(placements, [REPEATED, SET_ASIDE], interim)
    return marks, _by_split(placements, repeats), _by_kind(placements, apart)


def _table(names: Sequence[str], schema: pa.Schema, interim: Folder) -> pa.Table:
    """The rows of some files, by position. Columns that a file does not have are null."""
    tables = [schema.empty_table()]
    for name in names:
        with interim.reading(name) as file:
            table = pq.read_table(file)
        for each in schema:
            if each.name not in table.column_names:
                table = table.append_column(each, pa.nulls(len(table), each.type))
        tables.append(table.select(schema.names).cast(schema))
    return pa.concat_tables(tables).unify_dictionaries().combine_chunks().sort_by("position")


def _through(first: np.ndarray, alike: pa.Table) -> tuple[np.ndarray, pa.Array]:
    """What near duplicates among these repeat, else the samples themselves; and the similarity, null for these."""
    near, place = _found(first, alike["position"].to_numpy())
    through = np.where(near, alike["first"].to_numpy()[place] if len(alike) else first, first)
    similarity = alike["jaccard"].take(pa.array(np.where(near, place, 0), mask=~near))
    return through, similarity.combine_chunks()


def _found(wanted: np.ndarray, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whether each of these is among the positions, which ascend, and its place there."""
    if not len(positions):
        return np.zeros(len(wanted), bool), np.zeros(len(wanted), np.int64)
    place = np.minimum(np.searchsorted(positions, wanted), len(positions) - 1)
    return positions[place] == wanted, place


def _by_split(placements: Placements, table: pa.Table) -> dict[int, int]:
    counts = np.diff(np.searchsorted(table["position"].to_numpy(), placements.bounds()))
    return {split.number: int(count) for split, count in zip(placements.splits, counts, strict=True)}


def _by_kind(placements: Placements, apart: pa.Table) -> Counts:
    counts: Counts = {}
    for kind in apart["kind"].unique().to_pylist():
        some = apart.filter(pc.field("kind") == kind)
        for number, count in _by_split(placements, some).items():
            if count:
                counts.setdefault(number, Counter())[kind] = count
    return counts


def write_left_out(split: Placed, interim: Folder) -> int:
    """Writes the lines of quarantine.jsonl for the samples of a split that are set aside. Returns their number."""
    with interim.reading(SET_ASIDE) as file:
        apart = rows_between(file, "position", split.position, split.position + split.samples)
    kinds, messages = (iter(apart[name].to_pylist()) for name in ("kind", "message"))
    with interim.writing(left_out_name(split.number)) as file:
        for _, table in at(split, apart["position"].to_numpy(), interim, ["line", "raw"]):
            for line, raw in zip(table["line"].to_pylist(), table["raw"].to_pylist(), strict=True):
                file.write(interim_line(Piece(line, raw), RecordFault(next(kinds), next(messages))))
    return len(apart)
