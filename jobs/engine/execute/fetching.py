"""Waits for a node, and downloads the models of an operator to every node, before its workers start.

Both may take longer than a map may stand still, and the workers of a node would each begin a download.
"""

import time
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from jobs.engine.execute.profile import Execution
from jobs.engine.execute.workers import places
from jobs.engine.terminal.errors import WinnowError
from jobs.engine.terminal.screen import say
from operators.asking.asking import Asking
from operators.base import Operator
from operators.checkpoint import Checkpoint


def wait_for_node(name: str, execution: Execution, seconds: float) -> None:
    """Returns when a node has what a worker requests; name: the column's name, for messages.

    A request asks an autoscaler for such a node. WinnowError where none has come after that many seconds.
    """
    if _nodes(execution):
        return
    requests = {"CPUs": execution.cpus, "GPUs": execution.gpus, "GB of memory": (execution.memory or 0) / 1e9}
    wanted = ", ".join(f"{amount:g} {kind}" for kind, amount in requests.items() if amount)
    say(f"{name}: no node has the {wanted} that a worker requests; waiting for one ...")
    placed = _placed.options(num_cpus=execution.cpus, num_gpus=execution.gpus, memory=execution.memory).remote()
    if not ray.wait([placed], timeout=seconds)[0]:
        raise WinnowError(f"{name}: after {seconds:,.0f} s no node has the {wanted} that a worker requests")


def fetch_models(operator: Operator, name: str, execution: Execution) -> None:
    """Returns when each node on which the operator may run has its models; name: the column's name, for messages.

    A node that joins while others work downloads them when its first worker starts: the others' progress counts for the
    clock meanwhile. A node that dies is left out. RayTaskError where a model cannot be downloaded.
    """
    models = distant_models(operator)
    if not models:
        return
    nodes = _nodes(execution)
    named = ", ".join(model.name for model in models)
    say(f"{name}: each of {len(nodes):,} nodes gets {named}, where it does not have it yet ...")
    began = time.monotonic()
    fetched = [_fetched.options(scheduling_strategy=only_on(node)).remote(models) for node in nodes]
    for node, each in zip(nodes, fetched, strict=True):
        try:
            ray.get(each)
        except RayTaskError:
            raise
        except RayError:
            if node in _nodes(execution):
                raise
            say(f"{name}: the node {node[:12]} died meanwhile")
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
    """The nodes on which a worker has room, if nothing else runs there."""
    return [node["NodeID"] for node in ray.nodes() if node["Alive"] and places(execution, node["Resources"]) >= 1]


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
