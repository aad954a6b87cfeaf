"""One map: the samples that have no value yet stream through the workers of one operator, by Ray Data."""

import sys
import time
from collections.abc import Iterator
from typing import Any, cast

import fsspec
import numpy as np
import pyarrow as pa
import ray
from ray.data.exceptions import ExecutionTimeoutError
from ray.exceptions import RayError, RayTaskError

from jobs.engine.errors import OutOfRoom, OverErrorBudget
from jobs.engine.failure import cause, failure
from jobs.engine.profile import Execution
from jobs.engine.samples import Parts, read_samples
from jobs.engine.screen import say
from jobs.engine.session import Session
from jobs.engine.store import Feature
from jobs.engine.worker import Attempts, Worker
from operators.asking import OutOfTokens
from operators.base import Operator

REPORT_SECONDS = 30.0


def stream(
    operator: Operator, name: str, feature: Feature, parts: Parts, ids: np.ndarray, allowed: float, session: Session
) -> int:
    """Computes the operator for the samples with these ids (ascending) and commits the values to the feature.

    Returns how many samples failed. Raises OverErrorBudget as soon as more than `allowed` have, OutOfRoom where a
    model's first replies hold no answer, WinnowError where a worker cannot load the operator or nothing moves for the
    profile's `stall_seconds`.
    """
    execution = session.profile.execution(operator)
    attempts = Attempts(f"{feature.folder}/attempts-{session.run}")
    fs, root = fsspec.core.url_to_fs(feature.folder)
    for stale in fs.glob(f"{root}/attempts-*") + fs.glob(f"{root}/*.tmp"):
        fs.rm(stale, recursive=True)
    fs.makedirs(f"{root}/attempts-{session.run}", exist_ok=True)
    progress = _Progress(name, len(ids))
    try:
        for summary in _summaries(operator, feature, attempts, parts, ids, execution, session):
            progress.add(summary)
            if progress.failed > allowed:
                raise OverErrorBudget(
                    f"{name}: {progress.failed:,} of the first {progress.done:,} samples failed, more than "
                    f"max_errors allows ({allowed:,.0f} of them all). The last error: {progress.example}"
                )
    except ExecutionTimeoutError as error:
        told = (
            f"{name}: no progress for {session.profile.stall_seconds:,.0f} s; the operator {name} is stuck. "
            "What is done is kept, and the same command goes on from there"
        )
        raise failure(told, error, session) from error
    except RayError as error:
        found = error.cause if isinstance(error, RayTaskError) else error
        if isinstance(found, OutOfTokens):
            raise OutOfRoom(name, found.said, found.tokens) from error
        raise failure(f"{name}: {cause(error)}", error, session) from error
    finally:
        if fs.exists(f"{root}/attempts-{session.run}"):
            fs.rm(f"{root}/attempts-{session.run}", recursive=True)
    return progress.failed


def _summaries(
    operator: Operator,
    feature: Feature,
    attempts: Attempts,
    parts: Parts,
    ids: np.ndarray,
    execution: Execution,
    session: Session,
) -> Iterator[dict[str, Any]]:
    """A dict (rows, failed, example) for each batch that has been committed."""
    batches = [
        pa.table({"ids": pa.array([ids[at : at + execution.rows]], pa.list_(pa.int64()))})
        for at in range(0, len(ids), execution.rows)
    ]
    context = ray.data.DataContext.get_current()
    context.raise_original_map_exception = True
    context.execution_no_progress_timeout_s = session.profile.stall_seconds
    columns = ["id", "sha", *operator.columns()]

    def read(batch: pa.Table) -> pa.Table:
        wanted = batch["ids"].combine_chunks().flatten().to_numpy()
        return pa.concat_tables(read_samples(parts, wanted, columns))

    dataset = ray.data.from_arrow(batches)
    # Reading takes next to no CPU in Ray's books: with whole CPUs the workers could hold all there are, and
    # what feeds them would wait for ever. The differing request also keeps Ray from fusing the two.
    dataset = dataset.map_batches(read, batch_size=1, batch_format="pyarrow", num_cpus=0.05)
    dataset = dataset.map_batches(
        Worker,
        fn_constructor_args=(operator, feature, attempts),
        batch_size=None,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=_workers(execution, operator, len(batches))),
        num_cpus=execution.cpus,
        num_gpus=execution.gpus,
        memory=execution.memory,
    )
    for summary in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        yield from cast(pa.Table, summary).to_pylist()


def _workers(execution: Execution, operator: Operator, batches: int) -> int:
    """As many workers as profile and operator allow, the cluster holds and there are batches for; at least one."""
    resources = ray.cluster_resources()
    room = [int(resources.get("CPU", 1) / execution.cpus)] if execution.cpus else []
    if execution.gpus:
        room.append(int(resources.get("GPU", 0) / execution.gpus))
        if not resources.get("GPU"):
            say(f"this cluster shows no GPU and the profile wants {execution.gpus:g} a worker: waiting for one")
    room += [most for most in (execution.workers, operator.most_workers()) if most]
    return max(1, min([*room, batches]))


class _Progress:
    """Counts what is done, and says so every 30 s where no terminal shows Ray Data's own bars."""

    def __init__(self, name: str, total: int):
        self.name, self.total = name, total
        self.done = self.failed = self.first = 0
        self.example: str | None = None
        self.began = self.said = 0.0

    def add(self, summary: dict[str, Any]) -> None:
        """Takes in a batch that is done."""
        self.done += summary["rows"]
        self.failed += summary["failed"]
        self.example = summary["example"] or self.example
        now = time.monotonic()
        if not self.began:  # the pace counts from the first batch on: before it the workers were loading
            self.began = self.said = now
            self.first = self.done
        elif now - self.said >= REPORT_SECONDS and not sys.stdout.isatty():
            pace = (self.done - self.first) / (now - self.began)
            left = (self.total - self.done) / pace
            say(f"  {self.name}: {self.done:,} of {self.total:,} samples, {pace:,.0f} a second, {left:,.0f} s left")
            self.said = now
