"""How a run is executed: workers, batch sizes, CPUs and GPUs. It is never part of a recipe or a fingerprint."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo, field_validator
from pydantic.dataclasses import dataclass

from jobs.engine.record.declarations import validated, yaml_in
from jobs.engine.terminal.errors import UsageError, each_of, refuse
from jobs.engine.terminal.modules import nearest, operator_names
from operators.base import STRICT, Operator
from operators.training.finetune import Activations, Layout

PROFILES = Path(__file__).resolve().parents[3] / "cluster" / "profiles"


def _shares_or_whole(gpus: float) -> float:
    """GPUs of one process; ValueError for one and a half, say, which Ray does not schedule."""
    if gpus > 1 and gpus % 1:
        raise ValueError("a process has a share of one GPU or whole GPUs: a number up to 1, or a whole one")
    return gpus


Gpus = Annotated[float, Field(ge=0), AfterValidator(_shares_or_whole)]


@dataclass(frozen=True, config=STRICT)
class Execution:
    """How one operator runs."""

    workers: int | None = Field(default=None, ge=1)
    """The most workers; None for as many as the cluster has room for."""
    rows: int = Field(default=512, ge=1)
    """Samples per batch: a crash loses at most one per worker."""
    cpus: float = Field(default=0.9, ge=0)
    """CPUs per worker; below 1, so that the tasks that feed it find room on the same core."""
    gpus: Gpus = 0.0
    """GPUs per worker; below 1, workers share a GPU, and each has that share of its memory."""
    workers_per_gpu: int = Field(default=1, ge=1)
    """The workers that share a GPU where `gpus` is 1 and the model is small. One of them then reads and tokenizes while
    another computes. A model that is not small, or whose size is not known, has the GPU to itself."""
    memory: float | None = Field(default=None, gt=0)
    """Bytes of memory that a worker reserves in Ray's scheduler; None reserves none."""


@dataclass(frozen=True, config=STRICT)
class Profile:
    """How a run is executed; the defaults are cluster/profiles/laptop.yaml."""

    default: Execution = Execution()
    operators: dict[str, Execution] = Field(default_factory=dict)
    """Exceptions to the default, by the class of the operator (Embed, Judge ...)."""
    reduce_threads: int | None = Field(default=None, ge=1)
    """Threads of a reduce; None for one per CPU of the largest node. No map runs at the same time."""
    reduce_gpus: Gpus = 0.0
    """GPUs of a reduce. Above 0 the kernels run on CUDA."""
    reduce_bytes: int | None = Field(default=None, ge=1)
    """The bytes of columns up to which a kernel runs in one process; above, it runs over shards of the rows. None for a
    quarter of the memory of the smallest node, and on GPUs for half of that of a GPU. Results do not depend on it."""
    train_workers: int = Field(default=1, ge=1)
    """Processes that train together. Above 1 they are started by Ray Train and use torch.distributed."""
    train_gpus: Gpus = 0.0
    """GPUs per training process; 0 trains on CPUs."""
    train_threads: int | None = Field(default=None, ge=1)
    """Threads per training process; None divides the CPUs of the largest node among them."""
    train_layout: Layout = "copies"
    """copies: each process holds the whole model; shards: each holds a share of weights, gradients and moments."""
    train_activations: Activations = "kept"
    """kept: faster; recomputed: a training pass needs less memory, as it computes most activations twice."""
    train_tokens: int = Field(default=4096, ge=1)
    """Tokens per forward pass in training, padding included, as memory allows. A longer sample is a pass by itself."""
    local_cpus: int | None = Field(default=None, ge=1)
    """CPUs of the Ray instance that a command starts itself; None for all of the machine."""
    stall_seconds: float = Field(default=900.0, gt=0)
    """A map without progress for this time fails, and names the operator that is stuck. The time starts when there is a
    node for a worker, which may take as long, and the nodes have the models; a worker has to load them within it."""

    @field_validator("train_gpus")
    @classmethod
    def _one_process_each(cls, gpus: float, others: ValidationInfo) -> float:
        if gpus % 1 and (others.data.get("train_workers") or 1) > 1:
            raise ValueError("the processes of a training cannot share a GPU (NCCL): a whole number")
        return gpus

    @field_validator("train_layout")
    @classmethod
    def _of_several(cls, layout: Layout, others: ValidationInfo) -> Layout:
        if layout == "shards" and others.data.get("train_workers") == 1:
            raise ValueError("shards are for several workers: set train_workers above 1")
        return layout

    def execution(self, operator: Operator) -> Execution:
        """Returns how this operator runs; one that computes nothing on a GPU holds none, whatever the profile says."""
        found = self.operators.get(type(operator).__name__, self.default)
        return found if operator.uses_gpus() else replace(found, gpus=0.0)


def names() -> list[str]:
    """The names of the profiles in cluster/profiles."""
    return sorted(each.stem for each in PROFILES.glob("*.yaml"))


def profile(file: str | None) -> Profile:
    """Returns the profile in a YAML file, or by its name in cluster/profiles; None is the default.

    UsageError if there is no such file or name, and for each wrong field and each operator that there is not.
    """
    if file is None:
        return Profile()
    path, named = Path(file), PROFILES / f"{file}.yaml"
    if named.exists() and not path.is_file():  # a folder may have the name of a profile
        path = named
    if not path.exists():
        raise UsageError(f"no profile {file!r}: it is neither a file nor one of {', '.join(names())}")
    content = yaml_in(path, f"profile {path}") or {}
    if not isinstance(content, dict):
        raise UsageError(f"profile {path} is not a mapping")
    try:
        found = validated(Profile, {**content, "operators": content.get("operators") or {}})
    except UsageError as error:
        refuse(UsageError(f"profile {path}: {each}") for each in each_of(error))
        raise
    known = operator_names()
    refuse(
        UsageError(f"profile {path}: operators.{name}: there is no such operator{nearest(name, known)}")
        for name in found.operators
        if name not in known
    )
    return found
