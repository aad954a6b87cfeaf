"""Streams the samples that have no value yet through the workers of one operator, with Ray Data.

A long map begins with a random draw from all its samples. A map that would fail after hours, such as one over a corpus
in a language that the model cannot read, then fails in the first minute. Values do not depend on the order.
"""

import math
import sys
import time
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import pyarrow as pa
import ray
from ray.data.exceptions import ExecutionTimeoutError
from ray.exceptions import RayError, RayTaskError

from jobs.engine.execute.failure import cause, failure
from jobs.engine.execute.fetching import fetch_models
from jobs.engine.execute.map_worker import Attempts, Worker
from jobs.engine.execute.profile import Execution
from jobs.engine.execute.session import Session
from jobs.engine.execute.workers import Workers
from jobs.engine.samples.reading import KNOWN_BY, Parts, read_samples
from jobs.engine.store.feature import Feature
from jobs.engine.store.folder import Folder, opened
from jobs.engine.terminal.errors import OutOfRoom, OverErrorBudget
from jobs.engine.terminal.screen import say
from operators.asking.language_model import OutOfTokens
from operators.base import Operator

REPORT_SECONDS = 30.0

DRAWN = 512
"""The number of samples that are drawn to come first, where a map has more than twice as many."""

SURE = 5
"""A map is stopped early where the failures among the drawn samples exceed the allowed number by this many standard
deviations plus this many samples. Fewer than one in a million maps that keep to max_errors are stopped by chance."""


def stream(
    operator: Operator, name: str, feature: Feature, parts: Parts, ids: np.ndarray, allowed: float, session: Session
) -> int:
    """Computes an operator for the samples with these ids (ascending), and commits the values to the feature.

    name: the column's name, for messages. allowed: the number of samples that may fail. Returns the number of samples
    that failed.

    OverErrorBudget as soon as more samples than allowed have failed, or so many of the drawn ones that more will.
    OutOfRoom where a model's first replies contain no answer. WinnowError where a worker cannot load the operator, or
    where there is no progress for the profile's `stall_seconds`.
    """
    execution = session.profile.execution(operator)
    attempts = Attempts(f"{feature.folder}/attempts-{session.run}")
    fs, root = opened(feature.folder)
    for stale in (*fs.glob(f"{root}/attempts-*"), *fs.glob(f"{root}/*.tmp")):
        fs.rm(str(stale), recursive=True)
    Folder(attempts.folder).make()
    drawn, others = _drawn(ids)
    progress = _Progress(name, len(ids), allowed, frozenset(drawn.tolist()))
    try:
        fetch_models(operator, name, execution)
        for summary in _summaries(operator, feature, attempts, parts, drawn, others, execution, session):
            progress.add(summary)
            if over := progress.over():
                raise OverErrorBudget(f"{name}: {over}. {what_to_do(operator, name, progress.example)}")
    except ExecutionTimeoutError as error:
        message = (
            f"{name}: no progress for {session.profile.stall_seconds:,.0f} s; the operator {name} is stuck. "
            "Finished values are kept, and the same command continues from there"
        )
        raise failure(message, error, session) from error
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
    drawn: np.ndarray,
    others: np.ndarray,
    execution: Execution,
    session: Session,
) -> Iterator[dict[str, Any]]:
    """One dict per committed batch, with the fields of the worker's SUMMARY."""
    context = ray.data.DataContext.get_current()
    context.raise_original_map_exception = True
    context.execution_no_progress_timeout_s = session.profile.stall_seconds
    known_by = KNOWN_BY[operator.belongs_to()]
    columns = ["id", known_by, *operator.columns()]

    def samples(ids: np.ndarray) -> pa.Table:
        table = pa.concat_tables(read_samples(parts, ids, columns))
        return table.rename_columns(["sha" if name == known_by else name for name in table.column_names])

    def read(batch: pa.Table) -> pa.Table:
        asked = "ids" in batch.column_names
        return samples(batch["ids"].combine_chunks().flatten().to_numpy()) if asked else batch

    # The drawn samples are read here, on the driver. Workers take the batches that are read first, and the drawn
    # samples, which come from all parts, would be read last. Each batch has ids from the whole pool, as the batches end
    # in any order and the first one is judged by itself.
    workers = Workers.of(execution, operator)
    rows = workers.rows(execution, len(drawn) + len(others))
    dealt = math.ceil(len(drawn) / rows)
    batches = [samples(drawn[first::dealt]) for first in range(dealt)]
    batches += [pa.table({"ids": pa.array([ids], pa.list_(pa.int64()))}) for ids in _split(others, rows)]
    dataset = ray.data.from_arrow(batches)
    # Reading requests almost no CPU. The workers can hold all whole CPUs, and reading tasks that need one would wait
    # forever. The different request also keeps Ray from fusing the two steps.
    dataset = dataset.map_batches(read, batch_size=None, batch_format="pyarrow", num_cpus=0.05)
    dataset = dataset.map_batches(
        Worker,
        fn_constructor_args=(operator, feature, attempts),
        batch_size=None,
        batch_format="pyarrow",
        compute=workers.pool(len(batches)),
        num_cpus=execution.cpus,
        num_gpus=execution.gpus,
        memory=execution.memory,
    )
    for summary in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        yield from cast(pa.Table, summary).to_pylist()


def _split(ids: np.ndarray, rows: int) -> Iterator[np.ndarray]:
    return (ids[at : at + rows] for at in range(0, len(ids), rows))


def _drawn(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A random draw of DRAWN ids, and the other ids, both ascending; the draw is empty where there are few ids."""
    if len(ids) <= 2 * DRAWN:
        return ids[:0], ids
    places = np.sort(np.random.default_rng(0).choice(len(ids), DRAWN, replace=False))
    return ids[places], np.delete(ids, places)


def what_to_do(operator: Operator, name: str, error: str | None) -> str:
    """A message with one error of a column, and with advice on what to do about such errors."""
    said = (error or "").rstrip(".")
    advice = operator.advice(said.partition(":")[0], name)
    mended = f"{advice[:1].upper()}{advice[1:]}" if advice else "Fix the cause and run again with --retry-errors"
    return f"One of the errors: {said}. {mended}, or raise max_errors to leave such samples out."


class _Progress:
    """Counts finished samples, and prints the progress every 30 s where no terminal shows the bars of Ray Data."""

    def __init__(self, name: str, total: int, allowed: float, drawn: frozenset[int]):
        self.name, self.total, self.allowed, self.drawn = name, total, allowed, drawn
        self.done = self.failed = self.first = self.drawn_done = self.drawn_failed = 0
        self.example: str | None = None
        self.began = self.said = 0.0

    def add(self, summary: dict[str, Any]) -> None:
        """Counts a finished batch."""
        self.done += summary["rows"]
        self.failed += summary["failed"]
        if summary["first"] in self.drawn:
            self.drawn_done += summary["rows"]
            self.drawn_failed += summary["failed"]
        self.example = summary["example"] or self.example
        now = time.monotonic()
        if not self.began:  # the pace is measured from the first batch on: before it the workers were loading
            self.began = self.said = now
            self.first = self.done
        elif now - self.said >= REPORT_SECONDS and not sys.stdout.isatty():
            pace = (self.done - self.first) / (now - self.began)
            left = (self.total - self.done) / pace
            say(f"  {self.name}: {self.done:,} of {self.total:,} samples, {pace:,.0f} per second, {left:,.0f} s left")
            self.said = now

    def over(self) -> str:
        """Why the map has to stop: more samples failed than are allowed, or will fail; empty while neither is known."""
        share = min(self.allowed / self.total, 1.0)
        deviation = (self.drawn_done * share * (1 - share)) ** 0.5
        if self.drawn_failed > self.drawn_done * share + SURE * deviation + SURE:
            failed = f"{self.drawn_failed:,} of {self.drawn_done:,} samples drawn at random from {self.total:,} failed"
        elif self.failed > self.allowed:
            failed = f"{self.failed:,} of the first {self.done:,} samples failed"
        else:
            return ""
        return f"{failed}, and max_errors allows {self.allowed:,.0f} of all samples"
