"""The values of one operator for one pool: part files, written by tasks and read by id."""

import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.engine.store.folder import Folder, opened
from jobs.engine.store.writing import write_atomically

MISSING, VALUE, ERROR = 0, 1, 2


@dataclass(frozen=True)
class Feature:
    """The folder with the values of one operator for one pool."""

    folder: str

    def _fs(self) -> tuple[fsspec.AbstractFileSystem, str]:
        return opened(self.folder)

    def parts(self) -> list[str]:
        """Returns the paths of the part files, sorted."""
        fs, root = self._fs()
        fs.invalidate_cache(root)
        return sorted(str(path) for path in fs.glob(f"{root}/part-*.parquet"))

    def path(self, ids: np.ndarray) -> str:
        """Returns the path of the part with exactly these ids."""
        _, root = self._fs()
        digest = hashlib.sha256(np.ascontiguousarray(ids, np.int64).tobytes()).hexdigest()
        return f"{root}/part-{digest[:24]}.parquet"

    def holds(self, ids: np.ndarray) -> bool:
        """Whether the part with exactly these ids has been written."""
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
            with fs.open(path, "rb") as file:
                yield pq.ParquetFile(file).read(columns=list(columns))

    def fields(self) -> tuple[str, ...]:
        """The fields of its values; none where they are no structs, or where there is no value yet."""
        fs, _ = self._fs()
        for path in self.parts():
            with fs.open(path, "rb") as file:
                kind = pq.read_schema(file).field("value").type
            if pa.types.is_struct(kind):
                return tuple(each.name for each in kind)
            if not pa.types.is_null(kind):  # a part of nothing but errors has no type
                return ()
        return ()

    def states(self, samples: int) -> np.ndarray:
        """Returns MISSING, VALUE or ERROR per id of a pool of this number of samples; (samples,) uint8."""
        states = np.zeros(samples, np.uint8)
        for table in self.tables("id", "error"):
            ids = table["id"].to_numpy()
            failed = table["error"].is_valid().to_numpy()
            states[ids[failed & (states[ids] != VALUE)]] = ERROR
            states[ids[~failed]] = VALUE
        return states

    def errors(self) -> Iterator[tuple[int, str]]:
        """Gives the ids with an error, and the errors, part by part. Another part may hold a value for such an id."""
        for table in self.tables("id", "error"):
            failed = table.filter(table["error"].is_valid())
            yield from zip(failed["id"].to_pylist(), failed["error"].to_pylist(), strict=True)

    def values(self, ids: np.ndarray, field: str = "") -> np.ndarray:
        """Returns the values of these ids, in their order: (ids,) or (ids, dimensions).

        field: the field of structs to return; a null number is NaN. KeyError if an id has no value.
        """
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
        """Gives the values of these ids one part at a time: positions in `ids`, and the values there."""
        order = np.argsort(ids, kind="stable")
        wanted = ids[order]
        for table in self.tables("id", f"value.{field}" if field else "value"):
            if "value" not in table.column_names:  # a part with errors only has no such field
                continue
            rows, places = _matches(table, wanted)
            if not len(rows):
                continue
            column = table["value"].combine_chunks().take(pa.array(rows))
            if field:
                column = pc.call_function("struct_field", [column], pc.StructFieldOptions([field]))
            yield order[places], _dense(column)


def _matches(table: pa.Table, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the rows with a value and a wanted id, and the places of these ids in `wanted`, which is ascending."""
    ids = table["id"].to_numpy()
    places = np.minimum(np.searchsorted(wanted, ids), max(len(wanted) - 1, 0))
    hits = table["value"].is_valid().to_numpy() & (wanted[places] == ids if len(wanted) else False)
    return np.flatnonzero(hits), places[hits]


def _dense(values: pa.Array) -> np.ndarray:
    if pa.types.is_fixed_size_list(values.type):
        return values.flatten().to_numpy(zero_copy_only=False).reshape(len(values), values.type.list_size)
    if pa.types.is_string(values.type) or pa.types.is_nested(values.type):
        items = np.empty(len(values), object)  # np.array would make a matrix of lists of equal length
        items[:] = values.to_pylist()
        return items
    return values.to_numpy(zero_copy_only=False)


def take_over(feature: Feature, others: Sequence[Feature], missing: pa.Table) -> int:
    """Copies into `feature` the values that others have for the missing samples (id, sha). Returns their number.

    A value belongs to the content that the sha is the hash of. So the sha decides, and the id in the other feature does
    not matter. `others` may hold `feature` itself.
    """
    taken = 0
    for other in others:
        for table in other.tables("sha", "value"):
            if not missing.num_rows:
                return taken
            table = table.filter(table["value"].is_valid())
            places, found, missing = _known(missing, table)
            if found.num_rows:
                values = table["value"].combine_chunks().take(pa.array(places))
                feature.write(found["id"].to_numpy(), found["sha"].combine_chunks(), values, [None] * len(places))
                taken += len(places)
    return taken


def share_errors(feature: Feature, missing: pa.Table) -> None:
    """Writes for the missing samples (id, sha) the errors that the feature has for samples with the same sha."""
    for table in feature.tables("sha", "error"):
        table = table.filter(table["error"].is_valid())
        places, found, missing = _known(missing, table)
        if found.num_rows:
            errors = table["error"].take(pa.array(places)).to_pylist()
            feature.write(found["id"].to_numpy(), found["sha"].combine_chunks(), pa.nulls(len(places)), errors)


def _known(missing: pa.Table, table: pa.Table) -> tuple[np.ndarray, pa.Table, pa.Table]:
    """Returns the rows of the table with the shas of missing samples, those samples, and the other missing samples."""
    lookup = pc.SetLookupOptions(value_set=table["sha"].combine_chunks())
    where = pc.call_function("index_in", [missing["sha"]], lookup)
    hits = where.is_valid()
    return where.drop_null().to_numpy(), missing.filter(hits), missing.filter(pc.call_function("invert", [hits]))
