"""The worker: one loaded operator in a Ray Data actor, which commits each batch to the store.

The driver gets numbers only; the values stay in the part files. Ray retries a task forever when its worker
dies, so a worker notes each batch before it starts on it. A batch that was started and never finished is split into
pieces. A single sample that killed two workers is quarantined with an error. A worker that lost its GPU ends itself:
it would find an error in every later sample.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa

from jobs.engine.execute.columns import column, computed, joined
from jobs.engine.execute.device_errors import device_lost, end_process
from jobs.engine.execute.gpus import hide_other_gpus
from jobs.engine.execute.loads import LoadFailed, Loads, loaded
from jobs.engine.store.feature import Feature
from jobs.engine.store.folder import opened
from jobs.engine.terminal.errors import first_line
from operators.base import Arriving, Operator, RowError

PIECES = 16
DEATHS_ALLOWED = 1
REASON = ".reason"

SUMMARY = pa.schema([("first", pa.int64()), ("rows", pa.int64()), ("failed", pa.int64()), ("example", pa.string())])
"""The summary of a batch: its first id, its number of rows, the number that failed, and one of the errors."""


@dataclass(frozen=True)
class Attempts:
    """The batches that the workers of this run have started and not finished: one file per batch, in one folder."""

    folder: str

    def _path(self, ids: np.ndarray) -> tuple[fsspec.AbstractFileSystem, str]:
        fs, root = opened(self.folder)
        return fs, f"{root}/{hashlib.sha256(ids.tobytes()).hexdigest()[:24]}"

    def deaths(self, ids: np.ndarray) -> int:
        """The number of workers that started on exactly these ids and never finished."""
        fs, path = self._path(ids)
        return len(fs.cat_file(path)) if fs.exists(path) else 0

    def begin(self, ids: np.ndarray, deaths: int) -> None:
        """Notes that a worker starts on these ids; deaths: the number of workers that died on them before."""
        fs, path = self._path(ids)
        fs.pipe_file(path, b"x" * (deaths + 1))

    def explain(self, ids: np.ndarray, reason: str) -> None:
        """Notes why the worker that started on these ids ends."""
        fs, path = self._path(ids)
        fs.write_text(f"{path}{REASON}", reason, encoding="utf-8")

    def explanation(self, ids: np.ndarray) -> str:
        """Why the last worker that started on these ids ended; empty where it could not say."""
        fs, path = self._path(ids)
        return str(fs.read_text(f"{path}{REASON}", encoding="utf-8")) if fs.exists(f"{path}{REASON}") else ""

    def end(self, ids: np.ndarray) -> None:
        """Notes that these ids are finished."""
        fs, path = self._path(ids)
        for file in (path, f"{path}{REASON}"):
            if fs.exists(file):
                fs.rm_file(file)


class Worker:
    """A callable from a batch (id, sha and the columns that the operator reads) to one SUMMARY row.

    Called with a batch, it raises LoadFailed where the operator could not be loaded.
    """

    def __init__(self, operator: Operator, feature: Feature, attempts: Attempts):
        self.operator = operator
        self.feature = feature
        self.attempts = attempts
        self.failure: LoadFailed | None = None
        hide_other_gpus()
        # Ray would retry an error here, each time with the imports. An error raised from a call ends the map.
        try:
            self.compute = loaded(operator, Loads(attempts.folder))
        except LoadFailed as error:
            self.failure = error

    def refuse_unloaded(self) -> None:
        """Raises LoadFailed where the operator could not be loaded."""
        if self.failure:
            raise self.failure

    def __call__(self, batch: pa.Table) -> pa.Table:
        self.refuse_unloaded()
        errors = self._survive(batch) if batch.num_rows else []
        failed = [error for error in errors if error is not None]
        first = batch["id"][0].as_py() if batch.num_rows else None
        summary = {"first": first, "rows": batch.num_rows, "failed": len(failed), "example": typical(failed)}
        return pa.table({name: [value] for name, value in summary.items()}, schema=SUMMARY)

    def _survive(self, batch: pa.Table) -> list[str | None]:
        """Commits a batch, in one part or, after a worker died on it, in pieces; returns one error or None per row.

        The order of the errors is that of the rows; rows that are stored already are left out.
        """
        ids = batch["id"].to_numpy()
        deaths = self.attempts.deaths(ids)
        if deaths > DEATHS_ALLOWED and len(ids) == 1:
            reason = self.attempts.explanation(ids)
            message = f"ended {deaths} workers" + (f", the last by {reason}" if reason else "")
            errors: list[str | None] = [str(RowError("worker_death", message))]
            self._commit(batch, [pa.nulls(1)], errors)
        elif deaths and len(ids) > 1:
            self.attempts.begin(ids, deaths)
            if isinstance(self.operator, Arriving):  # the values that arrived before the worker died are stored
                batch = batch.filter(pa.array(np.isin(ids, self.feature.ids(), invert=True)))
            size = -(-len(ids) // PIECES)
            pieces = [batch.slice(start, size) for start in range(0, batch.num_rows, size)]
            todo = [piece for piece in pieces if not self.feature.holds(piece["id"].to_numpy())]
            errors = [error for piece in todo for error in self._survive(piece)]
        else:
            self.attempts.begin(ids, deaths)
            try:
                errors = self._committed(batch)
            except Exception as error:
                if device_lost(error):  # the next worker splits the batch
                    self.attempts.explain(ids, f"{type(error).__name__}: {first_line(error)[:500]}")
                    end_process()
                raise
        self.attempts.end(ids)
        return errors

    def _committed(self, batch: pa.Table) -> list[str | None]:
        """Computes and commits a batch; returns one error or None per row."""
        if isinstance(self.operator, Arriving):
            return self._arrived(batch)
        values, errors = computed(self.compute, batch, self.operator.gives)
        self._commit(batch, values, errors)
        return errors

    def _arrived(self, batch: pa.Table) -> list[str | None]:
        """Commits the values of a batch group by group as they arrive, then as one part that replaces the groups'.

        Returns one error or None per row.
        """
        arrived: dict[int, Any] = {}
        lots: list[np.ndarray] = []
        for lot in self.compute(batch):
            arrived |= lot
            if len(lot) == batch.num_rows:
                break
            part = batch.take(pa.array(list(lot)))
            values, errors = column(list(lot.values()), len(lot), self.operator.gives)
            self._commit(part, [values], errors)
            lots.append(part["id"].to_numpy())
        values, errors = column([arrived[row] for row in range(batch.num_rows)], batch.num_rows, self.operator.gives)
        self._commit(batch, [values], errors)
        for ids in lots:
            if len(ids) < batch.num_rows:
                self.feature.remove(ids)
        return errors

    def _commit(self, batch: pa.Table, values: list[pa.Array], errors: list[str | None]) -> None:
        self.feature.write(batch["id"].to_numpy(), batch["sha"].combine_chunks(), joined(values), errors)


def typical(errors: Sequence[str]) -> str | None:
    """The first error of the most frequent kind; None where there is no error."""
    kinds = [error.partition(":")[0] for error in errors]
    return errors[kinds.index(Counter(kinds).most_common(1)[0][0])] if errors else None
