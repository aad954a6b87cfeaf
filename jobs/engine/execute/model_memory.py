"""The memory that a model needs on each GPU of a profile, from its configuration; no weights are read.

    needed(LESS(...).train, profile("gpu")).total / 2**30        # GiB per GPU of a warm-up

The numbers are bounds for the longest sample (operators/models/memory.py), without what CUDA itself takes. What is
`held` is no bound: the model needs it whatever the samples are. `refusal` says what to do where a GPU has less.
"""

from dataclasses import dataclass, fields, replace

from jobs.engine.execute.model_sizes import Sizes
from jobs.engine.execute.profile import Execution, Profile, names, profile
from operators.asking.asking import Asking
from operators.base import Operator
from operators.checkpoint import Checkpoint
from operators.embedding.embed import Embed
from operators.gradients.gradient import Gradient
from operators.gradients.gradient_norm import GradientNorm
from operators.losses.class_error import ClassError
from operators.losses.loss import Loss
from operators.positions import USUAL_TOKENS
from operators.scoring.reward import Reward
from operators.scoring.scorer import Scorer
from operators.scoring.unieval import UniEval
from operators.training.finetune import Finetune, LoRA

USABLE = 0.9
"""The share of a GPU's memory that a model can have; vLLM takes as much."""

SMALL = 2 * 2**30
"""The bytes up to which a model is small: several have room on any GPU of today, each with CUDA's own half a GiB."""

CONTEXT = 8192
"""The tokens of a prompt and its answer, for which a judge needs a cache."""

SUBTASKS = 57
"""The subtasks of LESS's largest target, MMLU, whose directions a gradient is compared with."""


@dataclass(frozen=True)
class Memory:
    """Bytes on each GPU."""

    weights: float
    gradients: float = 0.0
    moments: float = 0.0
    compared: float = 0.0
    """The adapter whose gradient is taken, with its moments and the directions of LESS's targets, at their defaults."""
    activations: float = 0.0
    """A bound for one pass, with what is gathered or copied of the weights for it."""
    cache: float = 0.0
    """The keys and values of one request of a judge."""

    @property
    def total(self) -> float:
        """The sum."""
        return sum(getattr(self, field.name) for field in fields(self))

    @property
    def held(self) -> float:
        """What the model takes before it has a sample."""
        return self.weights + self.gradients + self.moments


def needed(step: Operator | Finetune, how: Profile) -> Memory | None:
    """What an operator or a trainer of a recipe needs on each GPU of its workers.

    None where no model is on a GPU, and where its sizes cannot be known here (`Sizes.here`).
    """
    model = model_of(step)
    if model is None or not gpus_of(step, how):
        return None
    sizes = Sizes.here(model)
    if sizes is None or (sizes.stored and not isinstance(step, Asking)):  # only vLLM reads quantised weights
        return None
    return needed_by(step, how, sizes)


def model_of(step: Operator | Finetune) -> Checkpoint | None:
    """The model that a step loads itself."""
    if isinstance(step, Asking) and step.endpoint:
        return None
    found = step.base if isinstance(step, Finetune) else getattr(step, "model", None)
    return found if isinstance(found, Checkpoint) else None


def needed_by(step: Operator | Finetune, how: Profile, sizes: Sizes) -> Memory | None:
    """As `needed`, for a model of other sizes than the step's own."""
    if isinstance(step, Finetune):
        return _of_training(step, how, sizes)
    if isinstance(step, Asking):
        gpus = max(1.0, gpus_of(step, how))
        weights = sizes.stored or 2 * sizes.parameters
        return Memory(weights / gpus, cache=(step.context or CONTEXT) * sizes.shape.cache_bytes() / gpus)
    if isinstance(step, Embed):  # `auto` begins with float32
        itemsize = 2 if step.precision == "bfloat16" else 4
        tokens = step.max_tokens or sizes.positions or USUAL_TOKENS
        return Memory(itemsize * sizes.body, activations=tokens * sizes.shape.body_bytes(itemsize))
    if not isinstance(step, Loss | ClassError | Scorer | Reward | UniEval | Gradient | GradientNorm):
        return None
    itemsize = 4 if step.precision == "float32" else 2
    tokens = step.max_tokens or USUAL_TOKENS
    if isinstance(step, Gradient | GradientNorm):
        each = 12 + 2 * SUBTASKS if isinstance(step, Gradient) else 4
        return Memory(
            itemsize * sizes.parameters,
            compared=each * sizes.adapter(LoRA()),
            activations=tokens * sizes.shape.backward_bytes(itemsize),
        )
    return Memory(itemsize * sizes.parameters, activations=tokens * sizes.shape.forward_bytes(itemsize))


def gpus_of(step: Operator | Finetune, how: Profile) -> float:
    """The GPUs of one worker."""
    return how.train_gpus if isinstance(step, Finetune) else how.execution(step).gpus


def shared(execution: Execution, operator: Operator) -> Execution:
    """How the operator runs where workers may share GPUs: with a share of a GPU, if its model is small.

    That depends on nothing but the model, so that a run has the same workers on every cluster.
    """
    model = model_of(operator)
    if execution.workers_per_gpu == 1 or execution.gpus != 1 or model is None:
        return execution
    sizes = Sizes.here(model)
    found = sizes and needed_by(operator, Profile(default=execution), sizes)
    if found is None or found.total > SMALL:
        return execution
    return replace(execution, gpus=1 / execution.workers_per_gpu)


def room(step: Operator | Finetune, how: Profile, gpu_bytes: float) -> float:
    """The bytes of a GPU of this size that one worker can have: of a GPU that workers share, its share."""
    return USABLE * gpu_bytes * min(1.0, gpus_of(step, how))


def refusal(step: Operator | Finetune, how: Profile, gpu_bytes: float) -> str | None:
    """Why the step's model cannot be held on GPUs of this size, and what to do, in one line.

    None where it can, and where its sizes cannot be known here.
    """
    model, found = model_of(step), needed(step, how)
    share = min(1.0, gpus_of(step, how))
    if model is None or found is None or found.held <= share * gpu_bytes:
        return None
    size = Sizes.here(model)
    better = [name for name in names() if size and fits(step, profile(name), size, gpu_bytes)]
    if better:
        ways = f"--profile {better[0]} has room for it"
    elif isinstance(step, Finetune):
        ways = "train an adapter (lora), more train_workers with train_layout: shards, or a smaller model"
    elif isinstance(step, Asking):
        ways = f"give {type(step).__name__} more gpus in the profile, or use a smaller model"
    else:
        ways = "use a smaller model"
    of_it = "" if share == 1 else f", of which a worker has {share:g}"
    return (
        f"{model.name} takes {gib(found.held)} on each GPU before it has a sample, and the GPUs have "
        f"{gib(gpu_bytes)}{of_it}: {ways}"
    )


def fits(step: Operator | Finetune, how: Profile, sizes: Sizes, gpu_bytes: float) -> bool:
    """Whether a model of these sizes has room on GPUs of this size, with its longest samples."""
    found = needed_by(step, how, sizes) if gpus_of(step, how) else None
    return found is not None and found.total <= room(step, how, gpu_bytes)


def gib(count: float) -> str:
    """A number of bytes, for people."""
    return f"{count / 2**30:,.0f} GiB" if count >= 2**33 else f"{count / 2**30:,.1f} GiB"


def _of_training(trainer: Finetune, how: Profile, sizes: Sizes) -> Memory:
    itemsize = 4 if trainer.precision == "float32" else 2
    shards = how.train_workers if how.train_layout == "shards" else 1
    tokens = max(how.train_tokens, trainer.max_tokens or USUAL_TOKENS)
    recomputed = how.train_activations == "recomputed"
    a_token = sizes.shape.recomputed_bytes(itemsize) if recomputed else sizes.shape.backward_bytes(itemsize)
    activations = tokens * a_token + (_whole(trainer, sizes, itemsize) if shards > 1 else 0)
    if trainer.lora is None:
        each = 4 * sizes.parameters / shards
        if shards == 1 and itemsize == 2:  # autocast keeps a copy of each matrix for the backward pass
            activations += 2 * sizes.parameters
        return Memory(each, gradients=each, moments=2 * each, activations=activations)
    adapter = 4 * sizes.adapter(trainer.lora)
    frozen = itemsize * sizes.parameters / shards
    return Memory(frozen + adapter, gradients=adapter, moments=2 * adapter, activations=activations)


def _whole(trainer: Finetune, sizes: Sizes, itemsize: int) -> int:
    """The bytes of what is whole during a pass of a sharded model: two layers, and the embeddings or the head.

    Where they are trained, so is a gradient, and the float32 that is added up over the ranks. Embeddings are gathered
    in float32; where they are the head too, autocast makes a copy of them.
    """
    if trainer.lora is not None:
        return itemsize * (2 * sizes.layer + 2 * sizes.ends)
    return sizes.layer * (2 * itemsize + itemsize + 4) + sizes.ends * (12 + (itemsize if sizes.tied else 0))
