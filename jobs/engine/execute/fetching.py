"""Downloads the models of an operator to every node, before its workers start.

A download takes longer than a map may stand still, and the workers of a node would each begin it.
"""

import time
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from jobs.engine.execute.profile import Execution
from jobs.engine.terminal.errors import WinnowError
from jobs.engine.terminal.screen import say
from operators.asking.asking import Asking
from operators.base import Operator
from operators.checkpoint import Checkpoint


def fetch_models(operator: Operator, name: str, execution: Execution, seconds: float) -> None:
    """Returns when each node on which the operator may run has its models; name: the column's name, for messages.

    Where there is no such node yet, it waits for one, at most that many seconds, and then for the download on it. A
    node that joins while others work downloads them when its first worker starts: the others' progress counts for the
    clock meanwhile. WinnowError where no node comes; RayTaskError where a model cannot be downloaded.
    """
    models = distant_models(operator)
    if not models:
        return
    if not _nodes(execution):
        _wait_for_one(name, execution, seconds)
    nodes = _nodes(execution)
    named = ", ".join(model.name for model in models)
    say(f"{name}: each of {len(nodes):,} nodes gets {named}, where it does not have it yet ...")
    began = time.monotonic()
    ray.get([_fetched.options(scheduling_strategy=only_on(node)).remote(models) for node in nodes])
    say(f"{name}: {named} is on {len(nodes):,} nodes after {time.monotonic() - began:,.0f} s")


def distant_models(operator: Operator) -> list[Checkpoint]:
    """The checkpoints of the hub or at a URL that an operator loads, each once; none where a server has the model."""
    if isinstance(operator, Asking) and operator.endpoint:
        return []
    return list(dict.fromkeys(each for each in _checkpoints(operator) if each.elsewhere()))


def _checkpoints(value: Any) -> Iterator[Checkpoint]:
    if isinstance(value, Checkpoint):
        yield value
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from _checkpoints(getattr(value, field.name))


def _nodes(execution: Execution) -> list[str]:
    """The nodes that have the GPUs of a worker, or where it needs none the nodes that have a CPU."""
    needed, least = ("GPU", execution.gpus) if execution.gpus else ("CPU", 1)
    return [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get(needed, 0) >= least]


def _wait_for_one(name: str, execution: Execution, seconds: float) -> None:
    """Requests what a worker requests, so that an autoscaler adds a node, and returns when a node has it."""
    placed = _placed.options(num_cpus=execution.cpus, num_gpus=execution.gpus).remote()
    if not ray.wait([placed], timeout=seconds)[0]:
        ray.cancel(placed)
        raise WinnowError(f"{name}: after {seconds:,.0f} s no node has the {execution.gpus:g} GPUs of a worker")


def only_on(node: str) -> NodeAffinitySchedulingStrategy:
    """The scheduling strategy of a task that has to run on this node."""
    return NodeAffinitySchedulingStrategy(node, soft=False)


@ray.remote
def _placed() -> None:
    """Does nothing: that it runs is what is asked."""


@ray.remote(num_cpus=0)
def _fetched(models: list[Checkpoint]) -> None:
    for model in models:
        model.folder()
