"""Writes selected.jsonl: tasks sort the kept records of their parts by rank, and one merges them."""

from collections.abc import Iterator
from functools import partial
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.engine.ingest.tasks import Tasks, fetched
from jobs.engine.outcome.decided import decided
from jobs.engine.pool.selection import Selection
from jobs.engine.samples.reading import Parts, read_samples
from jobs.engine.store.folder import Folder
from jobs.engine.store.runs import few, joined, merged, write_run
from jobs.engine.terminal.errors import WinnowError

FILE = "selected.jsonl"
RUN_BYTES = 128 << 20
RECORDS = pa.schema([("rank", pa.int64()), ("raw", pa.large_binary())])


def write_selected(parts: Parts, chosen: Selection, interim: Folder, out: Folder, tasks: Tasks) -> None:
    """Writes the original records of the kept samples, best first, one per line. The pool is read once.

    interim: a folder for the runs. WinnowError where a record is lost.
    """
    slices = [each for each in decided(parts, chosen) if len(each.kept)]
    calls = [(each.parts, each.kept, each.rank, interim, f"kept-{number:06d}") for number, each in enumerate(slices)]
    runs = list(chain.from_iterable(tasks.results("sorted", _write_runs, calls)))
    runs = few(interim, runs, "rank", partial(tasks.results, "merged"))
    written = fetched(tasks.started(_write_lines, interim, runs, out))
    if written != len(chosen.ids):
        raise WinnowError(f"{out}/{FILE} does not add up: {written:,} records, but {len(chosen.ids):,} samples kept")


def _write_runs(parts: Parts, kept: np.ndarray, rank: np.ndarray, interim: Folder, name: str) -> list[str]:
    """Writes runs of (rank, raw) of the kept samples in some parts, of RUN_BYTES or more each. Returns their names."""
    names = []
    for number, table in enumerate(joined(_ranked(parts, kept, rank), RUN_BYTES)):
        names.append(f"{name}-{number:04d}")
        write_run(interim, names[-1], [table.sort_by("rank")], RECORDS, "rank")
    return names


def _ranked(parts: Parts, kept: np.ndarray, rank: np.ndarray) -> Iterator[pa.Table]:
    """The records of the kept samples with their ranks, by id."""
    at = 0
    for table in read_samples(parts, kept, ["raw"]):
        yield table.add_column(0, "rank", pa.array(rank[at : at + len(table)]))
        at += len(table)


def _write_lines(interim: Folder, runs: list[str], out: Folder) -> int:
    """Writes the records of all runs in the order of rank, a line each. Returns their number."""
    written = 0
    with out.writing(FILE) as file:
        for table in merged(interim, runs, "rank"):
            for raws in table["raw"].chunks:
                file.write(_lines(raws))
                written += len(raws)
    return written


def _lines(raws: pa.LargeBinaryArray) -> memoryview:
    """The bytes of all records, each with the end of its line, without an object per record."""
    nothing, separator = pa.scalar(b"", raws.type), pa.scalar(b"\n", raws.type)
    _, offsets, values = pc.call_function("binary_join_element_wise", [raws, nothing, separator]).buffers()
    last = np.frombuffer(offsets, np.int64)[len(raws)]
    return memoryview(values)[:last]
