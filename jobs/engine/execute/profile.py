"""How a run is executed: workers, batch sizes, CPUs and GPUs. Never part of a recipe or a fingerprint."""

from pathlib import Path

from pydantic import Field, ValidationInfo, field_validator
from pydantic.dataclasses import dataclass

from jobs.engine.record.declarations import validated, yaml_in
from jobs.engine.terminal.errors import UsageError
from operators.base import STRICT, Operator
from operators.training.finetune import Layout

PROFILES = Path(__file__).resolve().parents[3] / "cluster" / "profiles"


@dataclass(frozen=True, config=STRICT)
class Execution:
    """How one operator runs."""

    workers: int | None = Field(default=None, ge=1)
    """How many workers at most; None for as many as the cluster holds."""
    rows: int = Field(default=512, ge=1)
    """Samples a batch, and a part of the store: what a crash can lose of one worker."""
    cpus: float = Field(default=0.9, ge=0)
    """CPUs a worker; below 1 so that the tasks that feed it find room on the same core."""
    gpus: float = Field(default=0.0, ge=0)
    """GPUs a worker."""
    memory: float | None = Field(default=None, gt=0)
    """Bytes of memory a worker reserves in Ray's scheduler; None reserves none."""


@dataclass(frozen=True, config=STRICT)
class Profile:
    """How a run is executed; the defaults are cluster/profiles/laptop.yaml."""

    default: Execution = Execution()
    operators: dict[str, Execution] = Field(default_factory=dict)
    """Exceptions to the default, by operator class (Embed, Judge ...)."""
    reduce_threads: int | None = Field(default=None, ge=1)
    """Threads of a reduce; None for one a CPU of the largest node. No map runs beside it."""
    reduce_gpus: float = Field(default=0.0, ge=0)
    """GPUs of a reduce; above 0 the kernels run on CUDA."""
    train_workers: int = Field(default=1, ge=1)
    """Processes that train together; above 1 by Ray Train, with torch.distributed between them."""
    train_gpus: float = Field(default=0.0, ge=0)
    """GPUs of each of them; 0 trains on CPUs."""
    train_threads: int | None = Field(default=None, ge=1)
    """Threads of each of them; None for one a CPU of the largest node, shared out among them."""
    train_layout: Layout = "copies"
    """copies: each of them holds the whole model; shards: each a share of its weights, gradients and moments."""
    train_tokens: int = Field(default=4096, ge=1)
    """Tokens of a forward pass in training, padding included: what memory allows. A longer sample is one by itself."""
    local_cpus: int | None = Field(default=None, ge=1)
    """CPUs that Ray is told of where the command starts it itself; None for what the machine has."""
    stall_seconds: float = Field(default=900.0, gt=0)
    """With no progress for so long a map fails and names the operator that is stuck."""

    @field_validator("train_layout")
    @classmethod
    def _of_several(cls, layout: Layout, others: ValidationInfo) -> Layout:
        if layout == "shards" and others.data.get("train_workers") == 1:
            raise ValueError("shards are for several workers: set train_workers above 1")
        return layout

    def execution(self, operator: Operator) -> Execution:
        """How this operator runs."""
        return self.operators.get(type(operator).__name__, self.default)


def profile(file: str | None) -> Profile:
    """The profile in a YAML file, or one of those in cluster/profiles by name; UsageError for a wrong field."""
    if file is None:
        return Profile()
    path = Path(file)
    if not path.exists() and (PROFILES / f"{file}.yaml").exists():
        path = PROFILES / f"{file}.yaml"
    if not path.exists():
        known = ", ".join(sorted(each.stem for each in PROFILES.glob("*.yaml")))
        raise UsageError(f"no profile {file!r}: it is neither a file nor one of {known}")
    content = yaml_in(path, f"profile {path}") or {}
    if not isinstance(content, dict):
        raise UsageError(f"profile {path} holds no mapping")
    return validated(Profile, {**content, "operators": content.get("operators") or {}})
