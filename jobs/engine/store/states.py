"""The states of a feature's samples: read from the parts once, and then kept in one file beside them.

    <feature>/states.parquet    one byte per sample of the pool; the names and sizes of the parts that it was read from

A reader adds what newer parts say. Where a part that the file was read from is gone, the file says nothing, and all
parts are read again.
"""

import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.engine.store.folder import Folder
from jobs.engine.store.parquet import opened, small_ones
from jobs.engine.store.writing import write_atomically

MISSING, VALUE, ERROR = 0, 1, 2
MERGED = "part-merged-"
"""How the names of merged parts begin. No name of another part is behind it in their order."""
FILE = "states.parquet"
AT_ONCE = 256
"""The number of parts that one task reads the states of."""

Apply = Callable[..., Iterable[Any]]
"""A function like `map`: it applies a function to the items of lists, in this process or in tasks."""


class Size(NamedTuple):
    """What merging has to know of a part."""

    rows: int
    bytes: int
    """The size of the columns, not compressed."""
    lowest: int
    """The lowest id."""
    kind: str
    """The types of hashes and values."""


class Scanned(NamedTuple):
    """The rows of a part, without their values."""

    size: Size
    ids: np.ndarray
    """(rows,) int64."""
    failed: np.ndarray
    """Whether the row has an error; (rows,) bool."""


@dataclass
class States:
    """The state of each sample of a pool, and the parts that say so."""

    of: np.ndarray
    """MISSING, VALUE or ERROR; (samples,) uint8."""
    parts: dict[str, Size] = field(default_factory=dict)
    """The sizes of the parts, by file name."""

    def add(self, name: str, part: Scanned) -> None:
        """Adds what a part says. A value replaces an error, and an error replaces no value."""
        self.parts[name] = part.size
        failed = part.ids[part.failed]
        self.of[failed[self.of[failed] != VALUE]] = ERROR
        self.of[part.ids[~part.failed]] = VALUE

    def overlap(self) -> bool:
        """Whether some sample is in several parts."""
        return sum(each.rows for each in self.parts.values()) != np.count_nonzero(self.of)


def scanned(folder: str, names: Sequence[str]) -> list[Scanned]:
    """What these parts of a feature say about their samples, without reading the values."""
    found = {}
    for name in names:
        if name.startswith(MERGED):  # too large to be fetched whole
            with opened(f"{folder}/{name}") as file:
                found[name] = _scanned(file)
    small = [name for name in names if name not in found]
    found |= {name: _scanned(file) for name, file in zip(small, small_ones(folder, small), strict=True)}
    return [found[name] for name in names]


def _scanned(file: pq.ParquetFile) -> Scanned:
    table = file.read(columns=["id", "error"])
    groups = [file.metadata.row_group(group) for group in range(file.num_row_groups)]
    ids = table["id"].to_numpy()
    lowest = int(ids.min()) if len(ids) else 0
    size = Size(len(ids), sum(each.total_byte_size for each in groups), lowest, kind(file.schema_arrow))
    return Scanned(size, ids, table["error"].is_valid().to_numpy())


def kind(schema: pa.Schema) -> str:
    """The types of the columns that may differ between parts; only parts of one kind are merged."""
    return f"{schema.field('sha').type} {schema.field('value').type}"


def states(folder: str, names: Sequence[str], samples: int, apply: Apply = map) -> tuple[States, bool]:
    """The states of a pool of this number of samples, by the parts with these names.

    apply: reads parts that the file does not know, AT_ONCE at a time. Returns also whether there were such parts.
    """
    found = _remembered(folder, samples)
    if found is None or not found.parts.keys() <= set(names):
        found = States(np.zeros(samples, np.uint8))
    fresh = [name for name in names if name not in found.parts]
    for name, part in scans(folder, fresh, apply):
        found.add(name, part)
    return found, bool(fresh)


def scans(folder: str, names: Sequence[str], apply: Apply) -> Iterator[tuple[str, Scanned]]:
    """The names of parts with what each says, in this order."""
    lots = [list(names[at : at + AT_ONCE]) for at in range(0, len(names), AT_ONCE)]
    for lot, read in zip(lots, apply(scanned, [folder] * len(lots), lots), strict=True):
        yield from zip(lot, read, strict=True)


def remember(folder: str, found: States) -> None:
    """Writes the file with these states."""
    fs, root = Folder(folder).opened()
    sizes = json.dumps({name: list(size) for name, size in found.parts.items()})
    table = pa.table({"state": found.of}).replace_schema_metadata({"parts": sizes})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    write_atomically(fs, f"{root}/{FILE}", buffer.getvalue())


def _remembered(folder: str, samples: int) -> States | None:
    """What the file says; None where there is none, or one of another number of samples."""
    fs, root = Folder(folder).opened()
    if not fs.exists(f"{root}/{FILE}"):
        return None
    with opened(f"{folder}/{FILE}") as file:
        metadata: Mapping[bytes, bytes] = file.schema_arrow.metadata
        sizes = {name: Size(*size) for name, size in json.loads(metadata[b"parts"]).items()}
        held = file.read(use_threads=False)["state"].to_numpy()
    return States(held.copy(), sizes) if len(held) == samples else None
