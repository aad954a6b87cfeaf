"""The memory that a model needs on each GPU of a profile, from its configuration; no weights are read.

    needed(LESS(...).train, profile("gpu")).total / 2**30        # GiB per GPU of a warm-up

The numbers are bounds for the longest sample (operators/models/memory.py), without what CUDA itself takes. `refusal`
says what to do where they are more than a GPU has.
"""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from jobs.engine.execute.profile import Profile
from operators.asking.asking import Asking
from operators.base import Operator
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

if TYPE_CHECKING:
    from operators.models.memory import Shape

USABLE = 0.9
"""The share of a GPU's memory that a model can have; vLLM takes as much."""

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
    """Adam's, and the directions of LESS's targets."""
    activations: float = 0.0
    """A bound for one pass."""
    cache: float = 0.0
    """The keys and values of one request of a judge."""

    @property
    def total(self) -> float:
        """The sum."""
        return sum(getattr(self, field.name) for field in fields(self))


@dataclass(frozen=True)
class Sizes:
    """What of a model's configuration its memory depends on."""

    parameters: int
    linear: tuple[tuple[str, int], ...]
    """For each linear layer the last part of its name, and the sum of its input's and its output's width."""
    shape: "Shape"

    @classmethod
    def of(cls, config: Any) -> "Sizes":
        """The sizes of a model with this configuration (an object of transformers), which is built without memory."""
        import torch  # noqa: PLC0415 - a profile can be read without it
        from transformers import AutoModel, AutoModelForCausalLM  # noqa: PLC0415

        from operators.models.forward import linear_layers  # noqa: PLC0415
        from operators.models.memory import Shape  # noqa: PLC0415

        kind = AutoModelForCausalLM if type(config) in AutoModelForCausalLM._model_mapping else AutoModel
        with torch.device("meta"):
            model = kind.from_config(config)
        linear = [
            (name.rsplit(".", 1)[-1], layer.in_features + layer.out_features)
            for name, layer in linear_layers(model).items()
        ]
        return cls(sum(weight.numel() for weight in model.parameters()), tuple(linear), Shape.of(config))

    def adapter(self, lora: LoRA) -> int:
        """The parameters of a LoRA adapter."""
        return lora.rank * sum(widths for name, widths in self.linear if name in lora.modules)


def needed(step: Operator | Finetune, how: Profile) -> Memory | None:
    """What an operator or a trainer of a recipe needs on each GPU of its workers; None where no model is on a GPU.

    ModelMissing where the model's config.json is not available.
    """
    from transformers import AutoConfig  # noqa: PLC0415

    model = step.base if isinstance(step, Finetune) else getattr(step, "model", None)
    if model is None or not gpus_of(step, how) or (isinstance(step, Asking) and step.endpoint):
        return None
    return needed_by(step, how, Sizes.of(AutoConfig.for_model(**model.config())))


def needed_by(step: Operator | Finetune, how: Profile, sizes: Sizes) -> Memory | None:
    """As `needed`, for a model of other sizes than the step's own."""
    if isinstance(step, Finetune):
        return _of_training(step, how, sizes)
    if isinstance(step, Asking):
        gpus = gpus_of(step, how)
        return Memory(2 * sizes.parameters / gpus, cache=(step.context or CONTEXT) * sizes.shape.cache_bytes() / gpus)
    if isinstance(step, Embed):  # `auto` begins with float32
        itemsize = 2 if step.precision == "bfloat16" else 4
        return Memory(itemsize * sizes.parameters, activations=512 * sizes.shape.body_bytes(itemsize))
    if not isinstance(step, Loss | ClassError | Scorer | Reward | UniEval | Gradient | GradientNorm):
        return None
    itemsize = 4 if step.precision == "float32" else 2
    tokens = step.max_tokens or USUAL_TOKENS
    if isinstance(step, Gradient | GradientNorm):
        adapter = sizes.adapter(LoRA())
        compared = (8 + 2 * SUBTASKS) * adapter if isinstance(step, Gradient) else 0
        return Memory(
            itemsize * sizes.parameters + 4 * adapter,
            moments=compared,
            activations=tokens * sizes.shape.backward_bytes(itemsize),
        )
    return Memory(itemsize * sizes.parameters, activations=tokens * sizes.shape.forward_bytes(itemsize))


def gpus_of(step: Operator | Finetune, how: Profile) -> float:
    """The GPUs of one worker."""
    return how.train_gpus if isinstance(step, Finetune) else how.execution(step).gpus


def refusal(step: Operator | Finetune, how: Profile, gpu_bytes: int) -> str | None:
    """Why the step's model cannot run on GPUs of this size, and what to do; None where it can. Errors as `needed`."""
    found = needed(step, how)
    if found is None or found.total <= USABLE * gpu_bytes:
        return None
    ways = "a smaller model"
    if isinstance(step, Finetune):
        ways = "an adapter (lora), more train_workers with train_layout: shards, "
        ways += "train_activations: recomputed, fewer train_tokens, or a smaller model"
    elif isinstance(step, Asking):
        ways = f"more gpus for {type(step).__name__} in the profile, a smaller context, or a smaller model"
    return (
        f"the model needs {found.total / 2**30:,.0f} GiB on each GPU, which has {gpu_bytes / 2**30:,.0f} GiB; "
        f"use {ways}"
    )


def _of_training(trainer: Finetune, how: Profile, sizes: Sizes) -> Memory:
    itemsize = 4 if trainer.precision == "float32" else 2
    shards = how.train_workers if how.train_layout == "shards" else 1
    tokens = max(how.train_tokens, trainer.max_tokens or USUAL_TOKENS)
    # Of shards, two layers and the embeddings are whole while they are used.
    shape = sizes.shape
    layer = (sizes.parameters - 2 * shape.vocabulary * shape.width) / shape.layers
    whole = itemsize * (2 * layer + 2 * shape.vocabulary * shape.width) if shards > 1 else 0
    recomputed = how.train_activations == "recomputed"
    a_token = shape.recomputed_bytes(itemsize) if recomputed else shape.backward_bytes(itemsize)
    activations = whole + tokens * a_token
    if trainer.lora is None:
        each = 4 * sizes.parameters / shards
        return Memory(each, gradients=each, moments=2 * each, activations=activations)
    adapter = 4 * sizes.adapter(trainer.lora)
    frozen = itemsize * sizes.parameters / shards
    return Memory(frozen + adapter, gradients=adapter, moments=2 * adapter, activations=activations)
