"""Feeds a worker: reads the samples of one task, batch by batch, and sums up what became of them.

A task has many batches where a map is long, so that the driver, which spends milliseconds and kilobytes on each task,
does not grow with the pool. A task that takes too long returns early, and the rest is dealt again. The driver would
take a worker that returns nothing for stuck.
"""

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

import pyarrow as pa

from jobs.engine.execute.map_worker import SUMMARY, Attempts, Worker
from jobs.engine.samples.reading import Parts, read_samples
from jobs.engine.samples.runs import Runs
from jobs.engine.store.feature import Feature
from jobs.engine.store.folder import Folder
from operators.base import Operator


@dataclass(frozen=True)
class Feed:
    """Where the samples of a map are, and how they become batches."""

    parts: Parts
    columns: Sequence[str]
    """The columns to read; the first two are the id and the hash."""
    rows: int
    """Samples per batch."""
    seconds: float
    """A task that is not at its end after this time returns after its current batch."""

    def batches(self, ids: Runs) -> Iterator[pa.Table]:
        """The samples with these ids in batches; each row group is read once."""
        held: list[pa.Table] = []
        count = 0
        for table in read_samples(self.parts, ids.ids(), self.columns):
            at = 0
            while at < table.num_rows:
                piece = table.slice(at, self.rows - count)
                held.append(piece)
                at += piece.num_rows
                count += piece.num_rows
                if count == self.rows:
                    yield self._batch(held)
                    held, count = [], 0
        if held:
            yield self._batch(held)

    def _batch(self, tables: list[pa.Table]) -> pa.Table:
        whole = pa.concat_tables(tables)
        return whole.rename_columns(["id", "sha", *whole.column_names[2:]])


@dataclass(frozen=True)
class Sum:
    """What became of the batches of a task so far."""

    batches: int = 0
    rows: int = 0
    failed: int = 0
    example: str | None = None

    def plus(self, summary: pa.Table) -> "Sum":
        """This sum with the summary of one more batch."""
        (row,) = summary.to_pylist()
        failed, example = self.failed + row["failed"], self.example or row["example"]
        return Sum(self.batches + 1, self.rows + row["rows"], failed, example)


@dataclass(frozen=True)
class Journal:
    """How far the tasks of this run are: one file per task of several batches, beside the attempts."""

    folder: str

    def _name(self, ids: Runs) -> str:
        return f"{hashlib.sha256(ids.first.tobytes() + ids.end.tobytes()).hexdigest()[:24]}.json"

    def read(self, ids: Runs) -> Sum:
        """How far the task with these ids came, before the worker died that was at it."""
        folder, name = Folder(self.folder), self._name(ids)
        return Sum(**json.loads(folder.content(name))) if folder.exists(name) else Sum()

    def write(self, ids: Runs, done: Sum) -> None:
        """Notes how far the task with these ids is."""
        Folder(self.folder).write(self._name(ids), json.dumps(asdict(done)).encode())


class FedWorker:
    """A callable for Ray Data: from a task, a row with the runs of its ids (lists first, end), to one SUMMARY row.

    Called with a task, it raises LoadFailed where the operator could not be loaded.
    """

    def __init__(self, operator: Operator, feature: Feature, attempts: Attempts, feed: Feed):
        self.worker = Worker(operator, feature, attempts)
        self.journal = Journal(attempts.folder)
        self.feed = feed

    def __call__(self, task: pa.Table) -> pa.Table:
        self.worker.refuse_unloaded()
        ids = Runs(*(task[name][0].values.to_numpy() for name in ("first", "end")))
        several = len(ids) > self.feed.rows
        done = self.journal.read(ids) if several else Sum()
        until = time.monotonic() + self.feed.seconds
        for batch in _ahead(self.feed.batches(ids.after(done.rows))):
            done = done.plus(self.worker(batch))
            if several:
                self.journal.write(ids, done)
            if time.monotonic() > until:
                break
        summary = {"first": int(ids.first[0]), "rows": done.rows, "failed": done.failed, "example": done.example}
        return pa.table({name: [value] for name, value in summary.items()}, schema=SUMMARY)


def _ahead(batches: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """The same batches, each read while the one before it is computed."""
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = reader.submit(next, batches, None)
            yield batch
