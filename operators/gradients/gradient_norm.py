"""The norm of the gradient of a sample's loss (GraNd), for the data diets.

    GradientNorm(model, adapter=epoch)                                           # of a response, over LoRA's A and B
    GradientNorm(epoch, labels=Labels(label="category"), of="linear")            # of a classifier

GraNd (Paul et al. 2021, arXiv 2107.07075, definition 2.1) is defined for the cross-entropy of a class. For a response
the loss is the mean over its tokens, so GraNd falls as responses get longer.
"""

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import pyarrow as pa
from pydantic.dataclasses import dataclass

from operators.base import STRICT, Compute, Operator, RowError
from operators.checkpoint import Checkpoint
from operators.gradients.gradient import refuse_untrained
from operators.models.precision import Precision
from operators.positions import SampleTokens, refuse_too_many
from operators.supervision.labels import Labels
from operators.supervision.supervised import Supervised, Template

if TYPE_CHECKING:
    from operators.gradients.per_sample import Layers, Losses

    Tokenize = Callable[[pa.Table], list[Supervised | RowError]]


@dataclass(frozen=True, config=STRICT)
class GradientNorm(Operator):
    """The norm of a sample's gradient, its loss, and the number of its tokens."""

    version: ClassVar[int] = 2

    gives: ClassVar[pa.DataType | None] = pa.struct(
        [("norm", pa.float32()), ("tokens", pa.int64()), ("nll_mean", pa.float32()), ("truncated", pa.bool_())]
    )

    model: Checkpoint
    adapter: Checkpoint | None = None
    of: Literal["adapter", "linear", "head"] = "adapter"
    """The parameters that the gradient is taken with respect to. adapter: LoRA's A and B. linear: weights and biases of
    all linear layers and the head, without embeddings and norms. head: the head alone, so that no other layer is
    differentiated. It ranks samples differently from all parameters: the rank correlations were 0.30 to 0.68."""
    template: Template = "tulu"
    labels: Labels | None = None
    """The labels, with their names, that a classifier was trained to predict. None: the model is a language model."""
    max_tokens: SampleTokens = None
    """The number of tokens after which a sample is cut, and its value flagged as truncated."""
    precision: Precision = "auto"
    """auto: bfloat16 on a GPU that multiplies it, float32 elsewhere."""

    def check(self) -> None:
        """Raises ModelMissing where the model or the adapter is not there.

        ValueError where max_tokens is more than the model has positions.
        """
        self.model.check()
        if self.adapter is not None:
            self.adapter.check()
        refuse_too_many(self.model, self.max_tokens)

    def columns(self) -> tuple[str, ...]:
        """The columns to read: the messages, and for a classifier the record, which has the labels."""
        return ("messages", "raw") if self.labels else self.reads

    def load(self) -> Compute:
        """A function from a batch to one {"norm", "tokens", "nll_mean", "truncated"} per row, or a RowError.

        `tokens` is the number of tokens that the loss is the mean over, or all tokens of a classified text. `nll_mean`
        is the loss (nats). The kinds of error are those of `Supervision` or `Labelling`, and nonfinite. On a CPU a
        value is bitwise the same whatever samples are computed with it.

        ValueError for of="adapter" without an adapter, with an adapter that was never trained, or for a classifier; for
        of="linear" where most weights are in layers of another kind; and for a classifier that predicts other labels.
        """
        from operators.gradients import per_sample
        from operators.models.ahead import overlapped
        from operators.models.memory import backward_budget
        from operators.models.tokenized import values_of

        model, tokenize, layers, losses = (
            self._language_model() if self.labels is None else self._classifier(self.labels)
        )
        budget = backward_budget(model)

        def value(row: Supervised, norm: float, loss: float) -> dict[str, Any] | RowError:
            if not (math.isfinite(norm) and math.isfinite(loss)):
                return RowError("nonfinite", "the gradient's length or the loss is NaN or infinite")
            tokens = row.count if self.labels is None else len(row.input_ids)
            return {"norm": norm, "tokens": tokens, "nll_mean": loss, "truncated": row.truncated}

        def values(rows: list[Supervised]) -> Iterator[dict[str, Any] | RowError]:
            norms, found = per_sample.norms(model, rows, layers, budget, losses)
            return map(value, rows, norms.tolist(), found.tolist())

        device = next(model.parameters()).device
        return overlapped(tokenize, lambda rows: values_of(rows, values), device.type)

    def _language_model(self) -> tuple[Any, "Tokenize", "Layers", "Losses"]:
        from operators.gradients import per_sample
        from operators.models.causal import causal_model
        from operators.models.tokenized import attempts, fitting_supervision

        model = causal_model(self.model, self.adapter, self.precision)
        layers = self._layers(model)
        supervision = fitting_supervision(model, self.model, self.template, self.max_tokens)
        return model, lambda batch: attempts(supervision, batch), layers, per_sample.language_losses

    def _classifier(self, labels: Labels) -> tuple[Any, "Tokenize", "Layers", "Losses"]:
        from operators.gradients.class_losses import class_losses, head_layers
        from operators.losses.classifier import classifier
        from operators.models.tokenized import fitting_labelling, labelled

        if self.of == "adapter" or self.adapter is not None:
            raise ValueError("a classifier has no adapter: set of to linear or head, and adapter to null")
        model = classifier(self.model, labels, self.precision)
        layers = mostly_linear(model) if self.of == "linear" else head_layers(model)
        labelling = fitting_labelling(model, self.model, labels, self.max_tokens)
        return model, lambda batch: labelled(labelling, batch), layers, class_losses(labels)

    def _layers(self, model: Any) -> "Layers":
        from operators.gradients import per_sample
        from operators.models.forward import language_head, linear_layers

        if self.of == "linear":
            return mostly_linear(model)
        if self.of == "head":
            head = language_head(model)
            found = {name: layer for name, layer in linear_layers(model).items() if layer is head}
            if not found:
                raise ValueError(f"the head of {self.model.name} is a {type(head).__name__}, not a linear layer")
            return found
        if self.adapter is None:
            raise ValueError("of='adapter' wants an adapter; without one, set of to linear or head")
        layers = per_sample.adapter_layers(model)
        refuse_untrained(layers, self.adapter)
        return layers


def mostly_linear(model: Any) -> "Layers":
    """The linear layers of a model by name; ValueError where most of its weights are in layers of another kind.

    GPT-2's matrices are, and so are the experts of a mixture: what is left would say little of the gradient. Vectors
    and embeddings do not count, nor does the head.
    """
    from torch import nn

    from operators.models.forward import linear_layers

    layers = linear_layers(model)
    known = {id(weight) for layer in layers.values() for weight in layer.parameters()}
    counted = {id(layer.weight) for layer in layers.values() if layer is not model.get_output_embeddings()}
    known |= {id(each.weight) for each in model.modules() if isinstance(each, nn.Embedding)}
    others = {name: each for name, each in model.named_parameters() if each.dim() > 1 and id(each) not in known}
    left_out = sum(each.numel() for each in others.values())
    if left_out > sum(each.numel() for each in model.parameters() if id(each) in counted):
        raise ValueError(
            f"of='linear' would leave out most weights of this {type(model).__name__}, which are in layers of another "
            f"kind, such as {next(iter(others))}: set of to head, or to adapter with an adapter"
        )
    return layers
