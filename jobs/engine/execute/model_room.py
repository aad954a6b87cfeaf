"""Whether the models of a run have room on the GPUs of the cluster; looked up before anything is loaded."""

import functools
import shutil
import subprocess
from collections.abc import Mapping

import ray
from ray.exceptions import RayError

from jobs.engine.execute.fetching import only_on
from jobs.engine.execute.model_memory import refusal
from jobs.engine.execute.session import Session
from jobs.engine.terminal.errors import UsageError, refuse
from operators.base import Operator
from operators.training.finetune import Finetune

ANSWER_SECONDS = 30.0
ASKED = ("nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits")


def refuse_without_room(steps: Mapping[str, object], session: Session) -> None:
    """Raises UsageError where the cluster's GPUs cannot hold a model of the steps, with a line for each of them.

    steps: by the name of the column or the field; what is neither an operator nor a trainer is left out. Nothing is
    said where the size of the model or of the GPUs is not known.
    """
    using = {
        name: step
        for name, step in steps.items()
        if (isinstance(step, Operator) and session.profile.execution(step).gpus)
        or (isinstance(step, Finetune) and session.profile.train_gpus)
    }
    largest = max(cluster_gpus(), default=0) if using else 0
    if largest:
        found = {name: refusal(step, session.profile, largest) for name, step in using.items()}
        refuse(UsageError(f"{name}: {said}") for name, said in found.items() if said)


def cluster_gpus() -> list[int]:
    """The bytes of each GPU of the nodes that the cluster has now; those of a node that does not say are left out."""
    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("GPU", 0)]
    return _gpus_of(tuple(sorted(nodes)))


@functools.cache
def _gpus_of(nodes: tuple[str, ...]) -> list[int]:
    asked = [_gpus_here.options(scheduling_strategy=only_on(node)).remote() for node in nodes]
    answers, _ = ray.wait(asked, num_returns=len(asked), timeout=ANSWER_SECONDS) if asked else ([], [])
    return [size for answer in answers for size in _said(answer)]


def _said(answer: ray.ObjectRef) -> list[int]:
    """The sizes in an answer; none where the node went away, such as the one whose loss made a reduce start again."""
    try:
        return ray.get(answer)
    except RayError:
        return []


def gpus_here() -> list[int]:
    """The bytes of each GPU of this machine, by NVIDIA's tool; empty where it is not there or does not answer.

    The tool is asked and not torch, which would take memory of a GPU for it.
    """
    if not shutil.which(ASKED[0]):
        return []
    try:
        said = subprocess.run(ASKED, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [int(line) * 2**20 for line in said.split() if line.isdigit()]


_gpus_here = ray.remote(num_cpus=0)(gpus_here)
