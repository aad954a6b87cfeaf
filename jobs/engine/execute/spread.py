"""Where a reduce runs: in one process where its columns fit, else over one worker per shard of the rows."""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import ray

from jobs.engine.execute.model_room import cluster_gpus
from jobs.engine.execute.profile import Profile
from jobs.engine.execute.rows import Rows, row_bytes
from jobs.engine.execute.session import largest_node_cpus
from operators.kernels.sharding import sharding

SHARE = 0.25
"""The share of a node's memory up to which columns are reduced in one process, where the profile has no limit."""
GPU_SHARE = 0.5
"""The share of a GPU's memory up to which columns are reduced on it; tables of estimates take some of the rest."""


class Spread(NamedTuple):
    """The processes of a reduce. Results do not depend on it."""

    shards: int = 1
    """1: one task; above 1: so many actors, with consecutive rows each, and a task that asks them."""
    threads: int = 1
    """Threads of each process."""
    cpus: float = 1.0
    """CPUs that a process requests. It is at most 1, as a request for a whole node could wait forever."""
    gpus: float = 0.0
    memory: int = 0
    """Bytes of memory that a shard requests."""
    nodes: int = 0
    """The nodes that the shards were dealt to."""
    at_once: int = 0
    """The rows that a process has in memory at a time, where it does not need all of its; 0: all."""


def live_nodes() -> list[Mapping[str, float]]:
    """The resources of each live node that has CPUs."""
    return [each["Resources"] for each in ray.nodes() if each["Alive"] and each["Resources"].get("CPU")]


def spread(kernel: Callable[..., Any], columns: Mapping[str, Rows], rows: int, profile: Profile) -> Spread:
    """One process where the columns fit, or where the kernel has no shards; else shards over all nodes or GPUs.

    Where not all rows have to be in memory there is one shard per node, which reads some of its rows after others.
    """
    gpus = profile.reduce_gpus if "device" in inspect.signature(kernel).parameters else 0.0
    threads = profile.reduce_threads or int(largest_node_cpus())
    alone = Spread(threads=threads, gpus=gpus)
    declared = sharding(kernel)
    if declared is None or rows < 2:
        return alone
    nodes = live_nodes()
    limit = profile.reduce_bytes or _limit(nodes, gpus)
    total = rows * sum(row_bytes(each) for each in columns.values())
    if total <= limit:
        return alone
    if declared.in_pieces:
        at_once = max(1, int(limit * rows / total))
        shards = min(max(1, len(nodes)), rows)
        where = alone if shards == 1 else _dealt(shards, min(limit, total / shards), threads, nodes)
        return where._replace(at_once=at_once)
    shards = math.ceil(total / limit)
    if gpus:
        shards = sum(int(each.get("GPU", 0.0) / gpus) for each in nodes)  # what is left over on several makes none
    shards = min(max(shards, 1 if gpus else len(nodes)), rows)
    shards = len(declared.cuts(rows, shards)) - 1
    if shards == 1:
        return alone
    return _dealt(shards, total / shards, threads, nodes)._replace(gpus=gpus)


def _limit(nodes: Sequence[Mapping[str, float]], gpus: float) -> float:
    """The bytes of columns up to which a reduce with so many GPUs runs in one process on any of these nodes."""
    of_node = SHARE * min((each.get("memory", math.inf) for each in nodes), default=math.inf)
    of_gpu = GPU_SHARE * min(1.0, gpus) * min(cluster_gpus(), default=math.inf) if gpus else math.inf
    return min(of_node, of_gpu)


def _dealt(shards: int, memory: float, threads: int, nodes: Sequence[Mapping[str, float]]) -> Spread:
    """So many shards over these nodes, with so many bytes each; threads: of a process that has its node for itself."""
    cpus = sum(each["CPU"] for each in nodes)
    return Spread(
        shards,
        max(1, threads // math.ceil(shards / max(len(nodes), 1))),
        min(1.0, math.floor(100 * cpus / shards) / 100),
        memory=math.ceil(memory),
        nodes=len(nodes),
    )
