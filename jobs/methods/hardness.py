"""The operator that scores how hard samples are for the model after a training run."""

from typing import Literal

from operators.base import Operator
from operators.checkpoint import Checkpoint
from operators.gradients.gradient_norm import GradientNorm
from operators.losses.class_error import ClassError
from operators.losses.loss import Loss
from operators.models.precision import Precision
from operators.training.finetune import Finetune

Score = Literal["el2n", "grand", "grand_lora", "grand_last"]

LAYERS: dict[str, Literal["adapter", "linear", "head"]] = {
    "grand": "linear",
    "grand_lora": "adapter",
    "grand_last": "head",
}


def hardness(trainer: Finetune, last: Checkpoint, score: Score, precision: Precision) -> Operator:
    """The operator of a score (EL2N, or the length of a gradient) under a checkpoint of a training run.

    last: the folder of an epoch. For a classifier, the score is that of the class. The operator is `Loss`, `ClassError`
    or `GradientNorm`; the values of all three have the fields tokens, nll_mean and truncated.
    """
    model, adapter = (last, None) if trainer.lora is None else (trainer.base, last)
    template, labels, tokens = trainer.template, trainer.labels, trainer.max_tokens
    if score != "el2n":
        return GradientNorm(model, adapter, LAYERS[score], template, labels, tokens, precision)
    if labels is not None:
        return ClassError(model, labels, tokens, precision=precision)
    return Loss(model, adapter, template, tokens, precision)
