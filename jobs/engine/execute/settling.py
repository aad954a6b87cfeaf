"""Merges the parts of a feature and reads the states of its samples, in tasks."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import ray

from jobs.engine.store.feature import Feature
from jobs.engine.store.merging import settled


def settle(feature: Feature, samples: int) -> np.ndarray:
    """Merges the parts that a map left, and returns the state of each sample of the pool; (samples,) uint8.

    The names and sizes of the parts stay in a task, as there may be many; the states come by shared memory.
    """
    return ray.get(_settled.remote(feature, samples))


@ray.remote(num_cpus=0)  # it waits for tasks
def _settled(feature: Feature, samples: int) -> np.ndarray:
    return settled(feature, samples, _in_tasks)


def _in_tasks(function: Callable[..., Any], *lists: Sequence[Any]) -> Iterator[Any]:
    """What the function returns for the items of the lists, as `map` gives it; one call needs no task."""
    calls = list(zip(*lists, strict=True))
    if len(calls) < 2:
        yield from (function(*arguments) for arguments in calls)
        return
    waiting = [_called.remote(function, *arguments) for arguments in calls]
    while waiting:
        yield ray.get(waiting.pop(0))


@ray.remote(num_cpus=1)
def _called(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)
