"""One map: the samples that have no value yet stream through the workers of one operator, by Ray Data.

A long map begins with a few samples drawn at random from all of them, so that what would fail after hours, such as a
corpus in a language that the model cannot read, fails in the first minute. Values do not depend on the order.
"""

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

from jobs.engine.execute.failure import cause, failure
from jobs.engine.execute.profile import Execution
from jobs.engine.execute.session import Session
from jobs.engine.execute.worker import Attempts, Worker
from jobs.engine.samples.parts import KNOWN_BY, Parts, read_samples
from jobs.engine.store.feature import Feature
from jobs.engine.terminal.errors import OutOfRoom, OverErrorBudget
from jobs.engine.terminal.screen import say
from operators.asking.language_model import OutOfTokens
from operators.base import Operator

REPORT_SECONDS = 30.0

DRAWN = 512
"""Samples that are drawn to come first, of a map of more than twice as many."""

SURE = 5
"""So many standard deviations, and so many samples, more of the drawn must fail than are allowed of them. Chance does
that in fewer than one of a million maps."""


def stream(
    operator: Operator, name: str, feature: Feature, parts: Parts, ids: np.ndarray, allowed: float, session: Session
) -> int:
    """Computes the operator for the samples with these ids (ascending) and commits the values to the feature.

    Returns how many samples failed. Raises OverErrorBudget as soon as more than `allowed` have, or so many of the drawn
    ones that more will; OutOfRoom where a model's first replies hold no answer; WinnowError where a worker cannot load
    the operator or nothing moves for the profile's `stall_seconds`.
    """
    execution = session.profile.execution(operator)
    attempts = Attempts(f"{feature.folder}/attempts-{session.run}")
    fs, root = fsspec.core.url_to_fs(feature.folder)
    for stale in fs.glob(f"{root}/attempts-*") + fs.glob(f"{root}/*.tmp"):
        fs.rm(stale, recursive=True)
    fs.makedirs(f"{root}/attempts-{session.run}", exist_ok=True)
    drawn, others = _drawn(ids)
    progress = _Progress(name, len(ids), allowed, frozenset(drawn.tolist()))
    try:
        for summary in _summaries(operator, feature, attempts, parts, drawn, others, execution, session):
            progress.add(summary)
            if over := progress.over():
                raise OverErrorBudget(f"{name}: {over}. {what_to_do(operator, name, progress.example)}")
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
    drawn: np.ndarray,
    others: np.ndarray,
    execution: Execution,
    session: Session,
) -> Iterator[dict[str, Any]]:
    """A dict of the worker's SUMMARY for each batch that has been committed."""
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

    # The drawn are read here: workers take what is read first, and samples from all parts would be read last.
    batches = [samples(ids) for ids in _split(drawn, execution.rows)]
    batches += [pa.table({"ids": pa.array([ids], pa.list_(pa.int64()))}) for ids in _split(others, execution.rows)]
    dataset = ray.data.from_arrow(batches)
    # Reading takes next to no CPU in Ray's books: with whole CPUs the workers could hold all there are, and
    # what feeds them would wait for ever. The differing request also keeps Ray from fusing the two.
    dataset = dataset.map_batches(read, batch_size=None, batch_format="pyarrow", num_cpus=0.05)
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


def _split(ids: np.ndarray, rows: int) -> Iterator[np.ndarray]:
    return (ids[at : at + rows] for at in range(0, len(ids), rows))


def _drawn(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """DRAWN of the ids (ascending) at random, and the others, both ascending; none of few."""
    if len(ids) <= 2 * DRAWN:
        return ids[:0], ids
    places = np.sort(np.random.default_rng(0).choice(len(ids), DRAWN, replace=False))
    return ids[places], np.delete(ids, places)


def what_to_do(operator: Operator, name: str, error: str | None) -> str:
    """An error of a column, and what to do where there are too many like it, as sentences."""
    said = (error or "").rstrip(".")
    advice = operator.advice(said.partition(":")[0], name)
    mended = f"{advice[:1].upper()}{advice[1:]}" if advice else "Mend the cause and run again with --retry-errors"
    return f"One of the errors: {said}. {mended}, or raise max_errors to leave such samples out."


class _Progress:
    """Counts what is done, and says so every 30 s where no terminal shows Ray Data's own bars."""

    def __init__(self, name: str, total: int, allowed: float, drawn: frozenset[int]):
        self.name, self.total, self.allowed, self.drawn = name, total, allowed, drawn
        self.done = self.failed = self.first = self.drawn_done = self.drawn_failed = 0
        self.example: str | None = None
        self.began = self.said = 0.0

    def add(self, summary: dict[str, Any]) -> None:
        """Takes in a batch that is done."""
        self.done += summary["rows"]
        self.failed += summary["failed"]
        if summary["first"] in self.drawn:
            self.drawn_done += summary["rows"]
            self.drawn_failed += summary["failed"]
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

    def over(self) -> str:
        """That more samples failed than are allowed, or will have; empty where that cannot be said."""
        share = min(self.allowed / self.total, 1.0)
        deviation = (self.drawn_done * share * (1 - share)) ** 0.5
        if self.drawn_failed > self.drawn_done * share + SURE * deviation + SURE:
            told = f"{self.drawn_failed:,} of {self.drawn_done:,} samples drawn at random from {self.total:,} failed"
        elif self.failed > self.allowed:
            told = f"{self.failed:,} of the first {self.done:,} samples failed"
        else:
            return ""
        return f"{told}, and max_errors allows {self.allowed:,.0f} of all"
