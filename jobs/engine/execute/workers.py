"""How many workers a map has, and how many samples each of their batches."""

import math
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass

import ray

from jobs.engine.execute.profile import Execution
from operators.base import Operator

BATCHES = 4
"""A worker with GPUs gets at least this many batches, where they have FEWEST_ROWS samples."""
FEWEST_ROWS = 64
"""Samples that keep a GPU busy for one batch."""
TASKS = 64
"""A worker gets about this many tasks, of as many batches as it takes. The last task of a map keeps one worker busy for
this part of the time, while the others wait."""
GROWN = 8
"""The number of workers that is assumed for a cluster that may grow without a limit in the profile."""
TINY = 1e-9
"""The rounding of a division: 1 / (1 / 93) is below 93."""


@dataclass(frozen=True)
class Workers:
    """The workers of a map: those that the cluster has room for now, and those that it may have room for later."""

    now: int
    most: int | None
    """None: as many as there are batches."""

    @classmethod
    def of(cls, execution: Execution, operator: Operator) -> "Workers":
        """As the profile, the operator and the cluster allow; a cluster that others started may grow."""
        allowed = [each for each in (execution.workers, operator.most_workers()) if each]
        # Of each node by itself: what is left of the GPUs or the CPUs of several nodes makes no worker.
        room = sum(places(execution, node["Resources"]) for node in ray.nodes() if node["Alive"])
        now = max(1, int(min(room, *allowed, sys.maxsize)))
        grows = "RAY_ADDRESS" in os.environ
        return cls(now, min(allowed, default=None) if grows else now)

    def rows(self, execution: Execution, samples: int) -> int:
        """Samples per batch: the profile's, or fewer for workers with GPUs that would have nothing to do.

        Values do not depend on it.
        """
        if not execution.gpus:
            return execution.rows
        return min(execution.rows, max(FEWEST_ROWS, math.ceil(samples / (self._expected() * BATCHES))))

    def batches(self, samples: int, rows: int, seconds: float, pace: float | None) -> int:
        """Batches per task: more than one where each worker gets more than TASKS.

        rows: samples per batch. seconds: how long a task may take. pace: the samples per second of all workers; None
        where it is not known.
        """
        dealt = samples // (rows * self._expected() * TASKS)
        most = dealt if pace is None else int(seconds * pace / (self.now * rows))
        return max(1, min(dealt, most))

    def _expected(self) -> int:
        return self.most or max(self.now, GROWN)

    def pool(self, tasks: int) -> "ray.data.ActorPoolStrategy":  # not imported until a map runs
        """The pool of Ray Data's actors. It does not shrink below `now`, as workers take minutes to load."""
        least = min(self.now, tasks)
        return ray.data.ActorPoolStrategy(min_size=least, max_size=max(least, min(self.most or tasks, tasks)))


def places(execution: Execution, resources: Mapping[str, float]) -> float:
    """How many workers have room on a node with these resources; infinite where a worker requests nothing."""
    requests = {"CPU": execution.cpus, "GPU": execution.gpus, "memory": execution.memory or 0.0}
    counts = [resources.get(kind, 0.0) / request + TINY for kind, request in requests.items() if request]
    return math.floor(min(counts)) if counts else math.inf
