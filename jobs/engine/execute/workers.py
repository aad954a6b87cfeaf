"""How many workers a map has, and how many samples each of their batches."""

import math
import os
import sys
from dataclasses import dataclass

import ray

from jobs.engine.execute.profile import Execution
from jobs.engine.terminal.screen import say
from operators.base import Operator

BATCHES = 4
"""A worker with GPUs gets at least this many batches, where they have FEWEST_ROWS samples."""
FEWEST_ROWS = 64
"""Samples that keep a GPU busy for one batch."""
GROWN = 8
"""The number of workers that is assumed for a cluster that may grow without a limit in the profile."""


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
        now = max(1, min([*_room(execution), *allowed], default=sys.maxsize))
        grows = "RAY_ADDRESS" in os.environ
        return cls(now, min(allowed, default=None) if grows else now)

    def rows(self, execution: Execution, samples: int) -> int:
        """Samples per batch: the profile's, or fewer for workers with GPUs that would have nothing to do.

        Values do not depend on it.
        """
        if not execution.gpus:
            return execution.rows
        workers = self.most or max(self.now, GROWN)
        return min(execution.rows, max(FEWEST_ROWS, math.ceil(samples / (workers * BATCHES))))

    def pool(self, batches: int) -> ray.data.ActorPoolStrategy:
        """The pool of Ray Data's actors. It does not shrink below `now`, as workers take minutes to load."""
        least = min(self.now, batches)
        return ray.data.ActorPoolStrategy(min_size=least, max_size=max(least, min(self.most or batches, batches)))


def _room(execution: Execution) -> list[int]:
    """The numbers of workers for which the cluster has CPUs and GPUs now."""
    resources = ray.cluster_resources()
    room = [int(resources.get("CPU", 1) / execution.cpus)] if execution.cpus else []
    if execution.gpus:
        room.append(int(resources.get("GPU", 0) / execution.gpus))
        if not room[-1]:
            say(
                f"this cluster has no {execution.gpus:g} GPUs, which a worker of the profile requests: waiting for them"
            )
    return room
