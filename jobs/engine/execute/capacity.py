"""Whether a cluster has nodes with the GPUs and CPUs that a run asks for, before anything starts."""

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import ray
from ray._private.state import state

from jobs.engine.execute.profile import Profile
from jobs.engine.terminal.errors import UsageError, refuse
from operators.base import Operator
from operators.training.finetune import Finetune


@dataclass(frozen=True)
class Nodes:
    """Some nodes of one kind."""

    count: float
    cpus: float
    gpus: float
    """GPUs of one node."""

    def room(self, cpus: float, gpus: float) -> float:
        """How many processes with so many CPUs and GPUs of one node these nodes have room for."""
        each = min(self.cpus // cpus, self.gpus // gpus if gpus else math.inf)
        return self.count * each if each else 0


@dataclass(frozen=True)
class Capacity:
    """What a cluster has now, and what it may start on demand."""

    there: tuple[Nodes, ...]
    on_demand: tuple[Nodes, ...] = ()

    @classmethod
    def of_cluster(cls) -> "Capacity":
        """That of the connected cluster."""
        alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        there = tuple(Nodes(1, each.get("CPU", 0.0), each.get("GPU", 0.0)) for each in alive)
        return cls(there, _on_demand() if "RAY_ADDRESS" in os.environ else ())

    def has_node(self, cpus: float, gpus: float) -> bool:
        """Whether one node has, or may have, as many CPUs and GPUs."""
        return any(each.count and each.cpus >= cpus and each.gpus >= gpus for each in (*self.there, *self.on_demand))

    def processes(self, cpus: float, gpus: float) -> float:
        """The most processes with so many CPUs and GPUs of one node that there may be at a time."""
        return max(sum(each.room(cpus, gpus) for each in kind) for kind in (self.there, self.on_demand))

    @property
    def most(self) -> float:
        """The most GPUs that there may be at a time."""
        return max(sum(each.count * each.gpus for each in kind) for kind in (self.there, self.on_demand))

    def __str__(self) -> str:
        gpus = sum(each.count * each.gpus for each in self.there)
        cpus = sum(each.count * each.cpus for each in self.there)
        now = f"{len(self.there)} node(s), {cpus:g} CPUs and {f'{gpus:g} GPUs' if gpus else 'no GPU'}"
        kinds = [f"nodes of {each.gpus:g}" for each in self.on_demand if each.gpus and each.count]
        return f"{now}, and starts {' and '.join(kinds) or 'no GPUs'} on demand"


def _on_demand() -> tuple[Nodes, ...]:
    """The nodes that the autoscaler of the cluster may start; none where there is no autoscaler."""
    config = state.get_cluster_config()
    groups = config.node_group_configs if config else ()
    return tuple(
        Nodes(
            math.inf if each.max_count < 0 else each.max_count,
            each.resources.get("CPU", 0.0),
            each.resources.get("GPU", 0.0),
        )
        for each in groups
    )


def refuse_without_nodes(steps: Mapping[str, object], profile: Profile) -> None:
    """UsageError where a step or a reduce would wait forever for a node that the connected cluster never has.

    steps: the operators and trainers of a run by the names of their columns; other steps hold no GPU by themselves.
    """
    refuse(UsageError(each) for each in lacking(steps, profile, Capacity.of_cluster()))


def lacking(steps: Mapping[str, object], profile: Profile, capacity: Capacity) -> Iterator[str]:
    """A sentence for each step, and for the reduces, that ask for more than a node of the cluster can have."""
    for name, step in steps.items():
        if isinstance(step, Operator):
            how = profile.execution(step)
            if not capacity.has_node(how.cpus, how.gpus):
                yield _sentence(name, f"a worker of {type(step).__name__} takes {_taken(how.cpus, how.gpus)}", capacity)
        if isinstance(step, Finetune):
            workers, gpus = profile.train_workers, profile.train_gpus
            if capacity.processes(1, gpus) < workers:
                yield _sentence(name, f"training takes {workers} process(es) with {_taken(1, gpus)} each", capacity)
    # What such operators compute is what kernels reduce on GPUs; a recipe without one reduces nothing there.
    reduces = any(isinstance(step, Operator) and step.uses_gpus() for step in steps.values())
    if reduces and not capacity.has_node(1, profile.reduce_gpus):
        yield _sentence("reduce_gpus", f"a reduce takes {_taken(1, profile.reduce_gpus)}", capacity)


def _taken(cpus: float, gpus: float) -> str:
    return f"{f'{gpus:g} GPU(s) and ' if gpus else ''}{cpus:g} CPU(s) of one node"


def _sentence(name: str, needs: str, capacity: Capacity) -> str:
    return (
        f"{name}: with this profile {needs}, and this cluster has {capacity}: add such nodes, or give a --profile that "
        "takes less"
    )
