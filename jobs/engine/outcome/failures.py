"""The errors of operators: tasks gather them from the stored columns into one file, in the order of the ids."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.engine.ingest.row_groups import rows_between
from jobs.engine.ingest.tasks import Tasks, fetched
from jobs.engine.store.feature import ERROR, Feature
from jobs.engine.store.folder import Folder
from jobs.engine.store.runs import few, merge, write_run

FILE = "errors.parquet"
ERRORS = pa.schema([("id", pa.int64()), ("column", pa.int64()), ("error", pa.string())])
PARTS_A_TASK = 64


@dataclass(frozen=True)
class Errors:
    """The errors of the columns that a selection is based on, kept samples included."""

    folder: Folder
    """The folder of the file with the errors, which is there while the run writes its outcome."""
    columns: tuple[str, ...]
    """The names of the columns, the first one of the selection first."""
    some: bool
    """Whether there are any; there is no file otherwise."""

    def within(self, ids: range) -> pa.Table:
        """The errors of the samples with these ids: id, column (its position in `columns`) and error, by id."""
        if not self.some:
            return ERRORS.empty_table()
        with self.folder.reading(FILE) as file:
            return rows_between(file, "id", ids.start, ids.stop)

    def failed(self, ids: range, kept: np.ndarray) -> tuple[np.ndarray, pa.Array]:
        """The samples with these ids that have an error and are not kept, ascending; and for each "column: error".

        kept: the ids of kept samples. A sample with several errors has the one of the first column.
        """
        table = self.within(ids)
        table = table.filter(pa.array(~np.isin(table["id"].to_numpy(), kept)))
        failed, first = np.unique(table["id"].to_numpy(), return_index=True)
        table = table.take(pa.array(first)).combine_chunks()
        names = pa.array(self.columns, pa.string()).take(table["column"].combine_chunks())
        return failed, pc.call_function("binary_join_element_wise", [names, table["error"].combine_chunks(), ": "])


def errors_of(features: Mapping[str, Feature], samples: int, interim: Folder, tasks: Tasks) -> Errors:
    """The errors of these columns of a pool, by column name. samples: their number. The file lies in `interim`.

    A sample that has a value in another part of its column has no error.
    """
    counted = [tasks.started(_failing, feature, samples, returns=2) for feature in features.values()]
    calls = [
        (feature, paths[first : first + PARTS_A_TASK], failing, column, interim, f"errors-{column:03d}-{first:08d}")
        for column, (feature, (count, failing)) in enumerate(zip(features.values(), counted, strict=True))
        if fetched(count)
        for paths in [feature.parts()[::-1]]  # of several errors the one in the last part counts
        for first in range(0, len(paths), PARTS_A_TASK)
    ]
    runs = tasks.results("gathered the errors of", _write_errors, calls)
    if runs:
        runs = few(interim, runs, "id", partial(tasks.results, "merged"))
        fetched(tasks.started(merge, interim, runs, "id", FILE))
    return Errors(interim, tuple(features), bool(runs))


def _failing(feature: Feature, samples: int) -> tuple[int, np.ndarray]:
    """The number of the samples that have an error and no value, and their ids, ascending."""
    failing = np.flatnonzero(feature.states(samples) == ERROR)
    return len(failing), failing


def _write_errors(
    feature: Feature, paths: Sequence[str], failing: np.ndarray, column: int, interim: Folder, name: str
) -> str:
    """Writes a run of the errors in some parts of a column. Returns its name."""
    fs, _ = Folder(feature.folder).opened()
    tables = []
    for path in paths:
        with fs.open(path, "rb") as file:
            table = pq.ParquetFile(file).read(columns=["id", "error"])
        tables.append(table.filter(table["error"].is_valid()))
    held = pa.concat_tables(tables)
    held = held.filter(pa.array(np.isin(held["id"].to_numpy(), failing)))
    ids, first = np.unique(held["id"].to_numpy(), return_index=True)
    errors = held["error"].take(pa.array(first))
    table = pa.table({"id": ids, "column": np.full(len(ids), column), "error": errors}, ERRORS)
    write_run(interim, name, [table], ERRORS, "id")
    return name
