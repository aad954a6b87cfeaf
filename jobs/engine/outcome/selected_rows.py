"""Writes selected.parquet: the kept rows of parquet and Arrow files with the schema that they have there.

JSON has no bytes, time stamps or decimals. Where all records come from such files, their rows are written once more as
they are, best first. Tasks read the kept rows of their samples and sort them by rank, and one task merges them.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.engine.ingest.files.streams import file_at
from jobs.engine.ingest.files.tabular import rows_at, schema_at
from jobs.engine.ingest.tasks import Tasks, fetched
from jobs.engine.outcome.decided import decided
from jobs.engine.outcome.selected import RUN_BYTES
from jobs.engine.pool.selection import Selection
from jobs.engine.samples.reading import Parts, read_samples
from jobs.engine.store.folder import Folder
from jobs.engine.store.runs import few, joined, merged, write_run
from jobs.engine.terminal.errors import WinnowError, first_line
from jobs.engine.terminal.screen import say

FILE = "selected.parquet"
ROWS = ("parquet", "arrow")
"""The kinds of files that have rows with types."""
RANK = "__winnow_rank__"
GROUP_BYTES = 64 << 20


class NoCommonType(WinnowError):
    """A value of a file that the type which its column has in all files together cannot hold."""


def write_selected_rows(
    parts: Parts, facts: Mapping[str, Any], chosen: Selection, interim: Folder, out: Folder, tasks: Tasks
) -> None:
    """Writes selected.parquet where every kept record is a row of a parquet or Arrow file; removes an earlier one else.

    facts: the content of pool.json. A file that is no longer as it was read is named, and nothing is written.
    """
    paths = {each["uri"]: each.get("path") for each in facts.get("sources", ()) if each["records"]}
    if not paths or not all(paths.values()) or facts.get("made") or facts.get("rounds"):
        out.remove(FILE)
        return
    sizes = {each["uri"]: each["bytes"] for each in facts["sources"]}
    slices = [each for each in decided(parts, chosen) if len(each.kept)]
    try:
        schema = fetched(tasks.started(_schema, paths, sizes))
    except (WinnowError, OSError) as error:
        _leave_out(out, error)
        return
    calls = [
        (each.parts, each.kept, each.rank, paths, schema, interim, f"rows-{number:06d}")
        for number, each in enumerate(slices)
    ]
    try:
        runs = list(chain.from_iterable(tasks.results("sorted", _write_runs, calls)))
    except NoCommonType as error:
        _leave_out(out, error)
        return
    runs = few(interim, runs, RANK, partial(tasks.results, "merged"))
    written = fetched(tasks.started(_write_rows, interim, runs, schema, out))
    if written != len(chosen.ids):
        raise WinnowError(f"{out}/{FILE} does not add up: {written:,} rows, but {len(chosen.ids):,} samples kept")


def _leave_out(out: Folder, why: Exception) -> None:
    say(f"{out}/{FILE} is left out: {why}")
    out.remove(FILE)


def _schema(paths: Mapping[str, str], sizes: Mapping[str, int]) -> pa.Schema:
    """The schema of all files together. WinnowError where a file is another one now, or where two do not fit."""
    found: list[pa.Schema] = []
    for uri, path in paths.items():
        with file_at(path) as file:
            if file.seek(0, 2) != sizes[uri]:
                raise WinnowError(f"{uri} is not as it was when it was read")
            found.append(schema_at(file))
    try:
        return pa.unify_schemas(found, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise WinnowError(f"the files have columns of one name and different types: {error}") from None


def _write_runs(
    parts: Parts,
    kept: np.ndarray,
    rank: np.ndarray,
    paths: Mapping[str, str],
    schema: pa.Schema,
    interim: Folder,
    name: str,
) -> list[str]:
    """Writes runs of the kept rows of some parts with their ranks, RUN_BYTES or a batch more each. Returns their names.

    Arrow cannot sort a table with 2 GiB of texts or bytes in a column, which images soon are.

    NoCommonType where a value does not fit the schema.
    """
    places = pa.concat_tables(read_samples(parts, kept, ["source", "line"]))
    sources, lines = places["source"].to_numpy(), places["line"].to_numpy()
    ranked = schema.append(pa.field(RANK, pa.int64()))
    names = []
    for source in dict.fromkeys(sources.tolist()):
        here = np.flatnonzero(sources == source)
        here = here[np.argsort(lines[here])]
        try:
            for table in joined(_ranked(paths[source], lines[here] - 1, rank[here], schema), RUN_BYTES):
                names.append(f"{name}-{len(names):06d}")
                write_run(interim, names[-1], [table.sort_by(RANK)], ranked, RANK)
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
            raise NoCommonType(f"{source} has a value that no type of all files holds: {first_line(error)}") from None
    return names


def _ranked(path: str, numbers: np.ndarray, rank: np.ndarray, schema: pa.Schema) -> Iterator[pa.Table]:
    """The rows of a file with these numbers, which ascend, and their ranks."""
    at = 0
    with file_at(path) as file:
        for table in rows_at(file, numbers):
            yield _fitted(table, schema).append_column(RANK, pa.array(rank[at : at + len(table)]))
            at += len(table)


def _fitted(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """A table with all columns of the schema; those that the file lacks are null."""
    columns = [
        table[field.name].cast(field.type) if field.name in table.column_names else pa.nulls(len(table), field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _write_rows(interim: Folder, runs: Sequence[str], schema: pa.Schema, out: Folder) -> int:
    """Writes the rows of all runs in the order of rank. Returns their number."""
    written = 0
    with out.writing(FILE) as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for table in joined(merged(interim, runs, RANK), GROUP_BYTES):
            writer.write_table(table.drop_columns(RANK).cast(schema))
            written += len(table)
    return written
