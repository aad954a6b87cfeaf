"""The values of one operator for one pool: part files, written by tasks and read by id."""

import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.engine.store.folder import Folder
from jobs.engine.store.parquet import opened
from jobs.engine.store.rows import Wanted, blocks
from jobs.engine.store.states import ERROR, MERGED, MISSING, VALUE, states
from jobs.engine.store.writing import write_atomically

__all__ = ["ERROR", "MERGED", "MISSING", "VALUE", "Feature", "digest"]

LISTED_AGAIN = 3
"""How often a reader lists the parts: another process may merge them while they are read."""

Read = TypeVar("Read")


def digest(ids: np.ndarray) -> str:
    """The digest of ids in the name of their part."""
    return hashlib.sha256(np.ascontiguousarray(ids, np.int64).tobytes()).hexdigest()[:24]


@dataclass(frozen=True)
class Feature:
    """The folder with the values of one operator for one pool."""

    folder: str

    def _fs(self) -> tuple[fsspec.AbstractFileSystem, str]:
        return Folder(self.folder).opened()

    def parts(self) -> list[str]:
        """Returns the paths of the part files, sorted: of a sample in several parts, the last one counts."""
        fs, root = self._fs()
        fs.invalidate_cache(root)
        # Not by a glob: the folder may have a bracket or a star in its own path.
        names = Folder(self.folder).names()
        return [f"{root}/{name}" for name in names if name.startswith("part-") and name.endswith(".parquet")]

    def names(self) -> list[str]:
        """Returns the names of the part files, sorted."""
        return [path.rpartition("/")[2] for path in self.parts()]

    def path(self, ids: np.ndarray) -> str:
        """Returns the path of the part with exactly these ids."""
        _, root = self._fs()
        return f"{root}/part-{digest(ids)}.parquet"

    def holds(self, ids: np.ndarray) -> bool:
        """Whether a batch of exactly these ids has been written, and not been merged."""
        fs, _ = self._fs()
        return fs.exists(self.path(ids))

    def remove(self, ids: np.ndarray) -> None:
        """Removes the part with exactly these ids, which another part holds as well."""
        fs, _ = self._fs()
        fs.rm_file(self.path(ids))

    def ids(self) -> np.ndarray:
        """Returns the ids in the parts, of values and errors alike; int64."""
        return np.concatenate([np.empty(0, np.int64), *(table["id"].to_numpy() for table in self.tables("id"))])

    def write(self, ids: np.ndarray, shas: pa.Array, values: pa.Array, errors: Sequence[str | None]) -> None:
        """Writes one part. OSError names its path, for instance where no space is left."""
        fs, _ = self._fs()
        Folder(self.folder).make()
        table = pa.table(
            {"id": pa.array(ids, pa.int64()), "sha": shas, "value": values, "error": pa.array(errors, pa.string())}
        )
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd", use_dictionary=False)
        write_atomically(fs, self.path(ids), buffer.getvalue())

    def tables(self, *columns: str) -> Iterator[pa.Table]:
        """Gives the parts one after another, as tables of these columns."""
        fs, _ = self._fs()
        for path in self.parts():
            with opened(fs.unstrip_protocol(path)) as file:
                yield file.read(columns=list(columns))

    def fields(self) -> tuple[str, ...]:
        """The fields of its values; none where they are no structs, or where there is no value yet."""
        fs, _ = self._fs()
        for path in self.parts():
            with opened(fs.unstrip_protocol(path)) as file:
                kind = file.schema_arrow.field("value").type
            if pa.types.is_struct(kind):
                return tuple(each.name for each in kind)
            if not pa.types.is_null(kind):  # a part of nothing but errors has no type
                return ()
        return ()

    def states(self, samples: int) -> np.ndarray:
        """Returns MISSING, VALUE or ERROR per id of a pool of this number of samples; (samples,) uint8."""
        return self.undisturbed(lambda: states(self.folder, self.names(), samples)[0].of)

    def errors(self) -> Iterator[tuple[int, str]]:
        """Gives the ids with an error, each once, and the errors. Another part may hold a value for such an id."""
        fs, _ = self._fs()
        seen: set[int] = set()
        for path in reversed(self.parts()):
            with opened(fs.unstrip_protocol(path)) as file:
                if not _may_fail(file):
                    continue
                table = file.read(columns=["id", "error"])
            failed = table.filter(table["error"].is_valid())
            for sample, error in zip(failed["id"].to_pylist(), failed["error"].to_pylist(), strict=True):
                if sample not in seen:
                    seen.add(sample)
                    yield sample, error

    def values(self, ids: np.ndarray, field: str = "") -> np.ndarray:
        """Returns the values of these ids, in their order: (ids,) or (ids, dimensions).

        field: the field of structs to return; a null number is NaN. KeyError if an id has no value.
        """
        return self.undisturbed(lambda: self._values(ids, field))

    def _values(self, ids: np.ndarray, field: str) -> np.ndarray:
        gathered: np.ndarray | None = None
        found = np.zeros(len(ids), bool)
        for places, values in self.blocks(ids, field):
            if gathered is None:
                gathered = np.empty((len(ids), *values.shape[1:]), values.dtype)
            gathered[places] = values
            found[places] = True
        if not found.all():
            raise KeyError(f"{self.folder} has no value for id {ids[~found][0]}")
        return np.empty(0) if gathered is None else gathered

    def blocks(self, ids: np.ndarray, field: str = "") -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Gives the values of these ids, each once, some at a time: positions in `ids`, and the values there."""
        fs, _ = self._fs()
        paths = [fs.unstrip_protocol(path) for path in reversed(self.parts())]
        wanted = Wanted.of(ids)
        given = np.zeros(len(ids), bool)
        for places, values in blocks(paths, wanted, field):
            fresh = ~given[places]
            if not fresh.all():  # a sample may be in several parts while they are merged
                places, values = places[fresh], values[fresh]
            given[places] = True
            if len(places):
                yield places, values

    def undisturbed(self, read: Callable[[], Read]) -> Read:
        """What `read` returns; it is called again where another process has merged parts in the meantime.

        A part may then be gone that was listed. Or the list has neither it nor the merged one: a folder is not listed
        in one moment.
        """
        for _ in range(LISTED_AGAIN - 1):
            names = set(self.names())
            try:
                found = read()
            except (FileNotFoundError, KeyError):
                if not self._merged_since(names):
                    raise
                continue
            if not self._merged_since(names):
                return found
        return read()

    def _merged_since(self, names: set[str]) -> bool:
        now = self.names()
        return not names <= set(now) or any(name.startswith(MERGED) and name not in names for name in now)


def _may_fail(file: pq.ParquetFile) -> bool:
    """Whether a part may have errors, by its statistics."""
    found = 0
    for number in range(file.num_row_groups):
        group = file.metadata.row_group(number)
        chunk = next(group.column(at) for at in range(group.num_columns) if group.column(at).path_in_schema == "error")
        if chunk.statistics is None or not chunk.statistics.has_null_count:
            return True
        found += group.num_rows - chunk.statistics.null_count
    return found > 0
