"""Ray tasks of one kind: a limited number at a time, their progress, and their errors as they were."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from jobs.engine.ingest.files.inputs import Say
from jobs.engine.terminal.errors import WinnowError, first_line
from jobs.engine.terminal.place_errors import of_a_place

PROGRESS_SECONDS = 30
STOP_SECONDS = 5
"""The time that the running tasks have to end after a failure.

They are not cancelled. Where a task completes at the moment of `ray.cancel`, Ray 2.60 ends the driver with "Tried to
complete task that was not pending". What still runs after this time ends with the driver.
"""


def fetched(reference: Any) -> Any:
    """Returns the result of a task. An error of the task about a file, or for people, is raised as it was.

    WinnowError where the worker of the task was lost.
    """
    try:
        return ray.get(reference)
    except RayTaskError as error:
        if isinstance(error.cause, WinnowError) or of_a_place(error.cause):
            raise error.cause from error
        raise
    except RayError as error:
        raise WinnowError(f"a worker was lost: {first_line(error)}; the same command begins this step again") from error


class Tasks:
    """Starts tasks, a limited number at a time, and prints their progress."""

    def __init__(self, cpus: float, say: Say):
        self.cpus, self.say = cpus, say
        self.alone: list[Any] = []

    def started(self, function: Callable, *arguments: Any, returns: int = 1) -> Any:
        """Starts one task. Returns the reference to its result, or the references to its results."""
        references = ray.remote(num_cpus=self.cpus, num_returns=returns)(function).remote(*arguments)
        self.alone.append(references[0] if isinstance(references, list) else references)
        return references

    def stop(self) -> None:
        """Waits for the tasks that still run: after a failure the folder that they write to is removed."""
        _ended(self.alone)

    def results(self, verb: str, function: Callable, calls: Sequence[tuple]) -> list[Any]:
        """Runs one task per call. Returns the results in the order of the calls."""
        waiting: dict[Any, int] = {}
        done: dict[int, Any] = {}
        said = time.monotonic()
        following = iter(enumerate(calls))
        remote = ray.remote(num_cpus=self.cpus)(function)
        try:
            while self._start(remote, following, waiting):
                ready, _ = ray.wait(list(waiting), timeout=PROGRESS_SECONDS)
                for reference in ready:
                    done[waiting.pop(reference)] = fetched(reference)
                if time.monotonic() - said > PROGRESS_SECONDS:
                    said = time.monotonic()
                    self.say(f"{verb} {len(done):,} of {len(calls):,} pieces")
        finally:
            _ended(list(waiting))
        return [done[number] for number in range(len(done))]

    def _start(self, remote: Any, calls: Iterator[tuple[int, tuple]], waiting: dict[Any, int]) -> bool:
        """Starts tasks up to twice the number of CPUs, so that an autoscaler sees work that waits."""
        room = max(4, int(2 * ray.cluster_resources().get("CPU", 1) / max(self.cpus, 0.01)))
        while len(waiting) < room and (following := next(calls, None)):
            number, arguments = following
            waiting[remote.remote(*arguments)] = number
        return bool(waiting)


def _ended(references: list[Any]) -> None:
    if references:
        ray.wait(references, num_returns=len(references), timeout=STOP_SECONDS)
