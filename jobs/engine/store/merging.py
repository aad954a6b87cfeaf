"""Merges the parts of a feature: a map writes one per batch, and its readers want few large ones.

    <feature>/part-<digest of the ids>.parquet           a batch
    <feature>/part-merged-<digest of the ids>.parquet    the rows of several parts, ascending by id

First all merged parts are written, then the file of the states, which names them, and only then are the parts removed
that were merged. A process that is killed in between leaves samples in two parts, with equal values. Readers take one
of the two, and the next call ends the work. The names of merged parts are behind all others in the order of the names,
so a reader, which takes the last value of a sample, takes the merged one.
"""

import io
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.engine.store.feature import MERGED, Feature, digest
from jobs.engine.store.folder import Folder
from jobs.engine.store.parquet import small_ones
from jobs.engine.store.states import VALUE, Apply, Scanned, Size, States, kind, remember, scans, states
from jobs.engine.store.writing import write_atomically

MERGED_ROWS = 65_536
MERGED_BYTES = 64 << 20
"""The most that a merged part holds, not compressed; it has one of the two at least by half, where there is as much."""
GROUP_ROWS = 8192
"""Rows of a row group, which a reader of some samples reads whole."""


class Kept(NamedTuple):
    """The rows of a part that go into a merged one."""

    name: str
    rows: np.ndarray | None
    """Ascending positions; None: all."""


def settled(feature: Feature, samples: int, apply: Apply = map) -> np.ndarray:
    """Merges the parts of a feature, and returns the state of each sample of the pool; (samples,) uint8.

    apply: a function like `map`, which reads and merges, in this process or in tasks.
    """
    known, fresh = states(feature.folder, feature.names(), samples, apply)
    if not all(name.startswith(MERGED) for name in known.parts):
        _merge(feature, known, apply)
    elif fresh:
        remember(feature.folder, known)
    return known.of


def _merge(feature: Feature, known: States, apply: Apply) -> None:
    """Merges the parts that batches left, with the merged ones that are small or of which others replace a row."""
    owned = _owned(feature, known, apply) if known.overlap() else {}
    replaced = {name for name, rows in owned.items() if len(rows) < known.parts[name].rows}
    old = {
        name: size
        for name, size in known.parts.items()
        if not name.startswith(MERGED) or _small(size) or name in replaced
    }
    kept = [[Kept(name, owned.get(name)) for name in group] for group in _groups(old)]
    new = dict(each for each in apply(merged, [feature.folder] * len(kept), kept) if each)
    known.parts = {name: size for name, size in known.parts.items() if name not in old} | new
    # The name of a batch's part may come again with other values, where errors are retried, and that of a merged part
    # does not without this file being written: so the file holds the names of merged parts only.
    remember(feature.folder, known)
    # Merged ones first: one that is left after an end in between would have errors from before they were retried.
    Folder(feature.folder).remove_files(sorted(old.keys() - new.keys(), reverse=True))


def _small(size: Size) -> bool:
    return size.rows < MERGED_ROWS // 2 and size.bytes < MERGED_BYTES // 2


def _groups(sizes: Mapping[str, Size]) -> list[list[str]]:
    """The parts to merge with one another: of values of one type, near in their ids, and small enough together."""
    groups: list[list[str]] = []
    rows = content = 0
    held = ""
    for name, size in sorted(sizes.items(), key=lambda each: (each[1].kind, each[1].lowest, each[0])):
        full = rows + size.rows > MERGED_ROWS or content + size.bytes > MERGED_BYTES
        if not groups or full or size.kind != held:
            groups.append([])
            rows = content = 0
        groups[-1].append(name)
        rows, content, held = rows + size.rows, content + size.bytes, size.kind
    return groups


def _owned(feature: Feature, known: States, apply: Apply) -> dict[str, np.ndarray]:
    """The rows of each part that count, where some samples are in several parts.

    Of several values the last one counts, which readers take. Of several errors that of a batch does, whose name comes
    first: it is from a retry.
    """
    names = sorted(known.parts)
    owner = np.full(len(known.of), -1, np.int32)
    for number, (_, part) in enumerate(scans(feature.folder, names, apply)):
        standing = _standing(part, known)
        owner[standing[(known.of[standing] == VALUE) | (owner[standing] < 0)]] = number
    owned = {}
    for number, (name, part) in enumerate(scans(feature.folder, names, apply)):
        stands = (owner[part.ids] == number) & (part.failed == (known.of[part.ids] != VALUE))
        owned[name] = np.flatnonzero(stands)
    return owned


def _standing(part: Scanned, known: States) -> np.ndarray:
    """The ids in a part, except those with an error of which another part has the value."""
    return part.ids[part.failed == (known.of[part.ids] != VALUE)]


def merged(folder: str, parts: Sequence[Kept]) -> tuple[str, Size] | None:
    """Writes one part with the kept rows of these parts; returns its name and size, None where there is no row."""
    files = zip(parts, small_ones(folder, [part.name for part in parts]), strict=True)
    table = pa.concat_tables([_kept(part, file) for part, file in files]).sort_by("id")
    if not len(table):
        return None
    ids = table["id"].to_numpy()
    name = f"{MERGED}{digest(ids)}.parquet"
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", use_dictionary=False, row_group_size=GROUP_ROWS)
    fs, root = Folder(folder).opened()
    write_atomically(fs, f"{root}/{name}", buffer.getvalue())
    return name, Size(len(ids), table.nbytes, int(ids[0]), kind(table.schema))


def _kept(part: Kept, file: pq.ParquetFile) -> pa.Table:
    table = file.read()
    return table if part.rows is None else table.take(pa.array(part.rows))
