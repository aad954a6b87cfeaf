"""Streams the samples that have no value yet through the workers of one operator, with Ray Data.

A long map begins with a random draw from all its samples. A map that would fail after hours, such as one over a corpus
in a language that the model cannot read, then fails in the first minute. Values do not depend on the order.
"""

import math
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa
import ray
from ray.exceptions import RayError, RayTaskError

from jobs.engine.execute.failure import cause, failure
from jobs.engine.execute.feeding import FedWorker, Feed
from jobs.engine.execute.fetching import fetch_models, wait_for_node
from jobs.engine.execute.loads import Loads
from jobs.engine.execute.map_worker import Attempts
from jobs.engine.execute.model_memory import shared
from jobs.engine.execute.profile import Execution
from jobs.engine.execute.session import Session
from jobs.engine.execute.workers import Workers
from jobs.engine.samples.reading import KNOWN_BY, Parts
from jobs.engine.samples.runs import Runs
from jobs.engine.store.feature import Feature
from jobs.engine.store.folder import Folder
from jobs.engine.terminal.errors import OutOfRoom, OverErrorBudget
from jobs.engine.terminal.place_errors import regardless
from jobs.engine.terminal.screen import say
from operators.asking.language_model import OutOfTokens
from operators.base import Operator

if TYPE_CHECKING:
    import ray.data.exceptions  # when a map runs, it is there; a mistyped command does without it

REPORT_SECONDS = 30.0

DRAWN = 512
"""The number of samples that are drawn to come first, where a map has more than twice as many."""

TASK_SHARE = 0.125
"""The part of the profile's `stall_seconds` after which a task returns, so that the driver sees progress."""

SURE = 5
"""A map is stopped early where the failures among the drawn samples exceed the allowed number by this many standard
deviations plus this many samples. Fewer than one in a million maps that keep to max_errors are stopped by chance."""


def stream(
    operator: Operator, name: str, feature: Feature, parts: Parts, ids: Runs, allowed: int, session: Session
) -> int:
    """Computes an operator for the samples with these ids, and commits the values to the feature.

    name: the column's name, for messages. allowed: the number of samples that may fail. Returns the number of samples
    that failed.

    OverErrorBudget as soon as more samples than allowed have failed, or so many of the drawn ones that more will.
    OutOfRoom where a model's first replies contain no answer. WinnowError where a worker cannot load the operator, or
    where there is no progress for the profile's `stall_seconds`.
    """
    execution = shared(session.profile.execution(operator), operator)
    attempts = Attempts(f"{feature.folder}/attempts-{session.run}")
    folder = Folder(feature.folder)
    for left in folder.names():
        if left.startswith("attempts-") or left.endswith(".tmp"):
            folder.remove(left)
    Folder(attempts.folder).make()
    samples = len(ids)
    progress = _Progress(name, samples, allowed)
    try:
        wait_for_node(name, execution, session.profile.stall_seconds)
        fetch_models(operator, name, execution)
        while len(ids):
            pace = progress.pace() or session.store.pace(operator)
            dealt = _Dealt(ids, samples, pace, operator, execution, session)
            for summary in dealt.summaries(operator, feature, attempts, parts):
                progress.add(summary, summary["first"] in dealt.drawn)
                if over := progress.over():
                    raise OverErrorBudget(f"{name}: {over}. {what_to_do(operator, name, progress.example)}")
            ids = dealt.left()
    except ray.data.exceptions.ExecutionTimeoutError as error:
        message = (
            f"{name}: no progress for {session.profile.stall_seconds:,.0f} s (stall_seconds of the profile): "
            f"{Loads(attempts.folder).stall(name)}. Finished values are kept, and the same command continues from there"
        )
        raise failure(message, error, session) from error
    except RayError as error:
        found = error.cause if isinstance(error, RayTaskError) else error
        if isinstance(found, OutOfTokens):
            raise OutOfRoom(name, found.said, found.tokens) from error
        raise failure(f"{name}: {cause(error)}", error, session) from error
    finally:
        with regardless():
            Folder(attempts.folder).remove()
    return progress.failed


class _Dealt:
    """The ids of a map, dealt to tasks: first those of a random draw, then all others in their order.

    samples: those of the whole map. There is no draw from what slow tasks left: it tells nothing about all samples.
    """

    def __init__(
        self, ids: Runs, samples: int, pace: float | None, operator: Operator, execution: Execution, session: Session
    ):
        self.execution, self.stall = execution, session.profile.stall_seconds
        self.workers = Workers.of(execution, operator)
        most = operator.most_rows(self.stall * TASK_SHARE) or sys.maxsize
        self.rows = min(self.workers.rows(execution, len(ids)), most)
        drawn, others = _drawn(ids) if len(ids) == samples else (np.empty(0, np.int64), ids)
        # Each of the first tasks has ids from the whole pool, as they end in any order and the first one is judged by
        # itself. A worker reads them: row groups from everywhere would be much to read for the driver.
        lots = math.ceil(len(drawn) / self.rows)
        tasks = [Runs.of(drawn[first::lots]) for first in range(lots)]
        batches = self.workers.batches(len(others), self.rows, self.stall * TASK_SHARE, pace)
        self.drawn = {int(task.first[0]) for task in tasks}
        self.tasks = {int(task.first[0]): task for task in [*tasks, *others.pieces(batches * self.rows)]}
        self.done: dict[int, int] = {}

    def summaries(
        self, operator: Operator, feature: Feature, attempts: Attempts, parts: Parts
    ) -> Iterator[dict[str, Any]]:
        """One dict per finished task, with the fields of the worker's SUMMARY."""
        context = ray.data.DataContext.get_current()
        context.raise_original_map_exception = True
        context.execution_no_progress_timeout_s = self.stall
        columns = ["id", KNOWN_BY[operator.belongs_to()], *operator.columns()]
        feed = Feed(parts, columns, self.rows, self.stall * TASK_SHARE)
        # A task is a row: Ray Data wants a size of batches where workers have GPUs, and 1 joins and divides no tasks.
        tasks = [pa.table({"first": [each.first], "end": [each.end]}) for each in self.tasks.values()]
        dataset = ray.data.from_arrow(tasks)
        dataset = dataset.map_batches(
            FedWorker,
            fn_constructor_args=(operator, feature, attempts, feed),
            batch_size=1,
            batch_format="pyarrow",
            compute=self.workers.pool(len(self.tasks)),
            num_cpus=self.execution.cpus,
            num_gpus=self.execution.gpus,
            memory=self.execution.memory,
        )
        for table in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            for summary in cast(pa.Table, table).to_pylist():
                self.done[summary["first"]] = summary["rows"]
                yield summary

    def left(self) -> Runs:
        """The ids of tasks that returned before their end."""
        left = [self.tasks[first].after(rows) for first, rows in sorted(self.done.items())]
        return Runs(np.concatenate([each.first for each in left]), np.concatenate([each.end for each in left]))


def _drawn(ids: Runs) -> tuple[np.ndarray, Runs]:
    """A random draw of DRAWN ids, and the other ids, both ascending; the draw is empty where there are few ids."""
    if len(ids) <= 2 * DRAWN:
        return np.empty(0, np.int64), ids
    places = np.sort(np.random.default_rng(0).choice(len(ids), DRAWN, replace=False))
    drawn = ids.at(places)
    return drawn, ids.without(drawn)


def what_to_do(operator: Operator, name: str, error: str | None) -> str:
    """A message with one error of a column, and with advice on what to do about such errors."""
    said = (error or "").rstrip(".")
    advice = operator.advice(said.partition(":")[0], name)
    mended = f"{advice[:1].upper()}{advice[1:]}" if advice else "Fix the cause and run again with --retry-errors"
    return f"One of the errors: {said}. {mended}, or raise max_errors to leave such samples out."


class _Progress:
    """Counts finished samples, and prints the progress every 30 s where no terminal shows the bars of Ray Data."""

    def __init__(self, name: str, total: int, allowed: int):
        self.name, self.total, self.allowed = name, total, allowed
        self.done = self.failed = self.first = self.drawn_done = self.drawn_failed = 0
        self.example: str | None = None
        self.began = self.said = 0.0

    def add(self, summary: dict[str, Any], drawn: bool) -> None:
        """Counts a finished task; drawn: whether its samples were drawn from all."""
        self.done += summary["rows"]
        self.failed += summary["failed"]
        if drawn:
            self.drawn_done += summary["rows"]
            self.drawn_failed += summary["failed"]
        self.example = summary["example"] or self.example
        now = time.monotonic()
        if not self.began:  # the pace is measured from the first batch on: before it the workers were loading
            self.began = self.said = now
            self.first = self.done
        elif now - self.said >= REPORT_SECONDS and not sys.stdout.isatty():
            pace = self.pace() or math.nan
            left = (self.total - self.done) / pace
            say(f"  {self.name}: {self.done:,} of {self.total:,} samples, {pace:,.0f} per second, {left:,.0f} s left")
            self.said = now

    def pace(self) -> float | None:
        """The samples per second since the first task ended; None where no other has."""
        since = time.monotonic() - self.began
        return (self.done - self.first) / since if self.done > self.first else None

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
        return f"{failed}, and max_errors allows {self.allowed:,} of all samples"
