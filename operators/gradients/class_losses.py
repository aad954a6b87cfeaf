"""The losses of classified texts, for per-sample gradients (per_sample.py)."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from operators.gradients.per_sample import Losses, Pass
from operators.losses.classifier import predictions
from operators.models.forward import Row, linear_layers
from operators.supervision.labels import Labels


def class_losses(labels: Labels) -> Losses:
    """The function that `per_sample.backward` takes: a text's loss is that of `Predictions.losses`.

    Padding is masked, so that its errors are zero and gradients do not depend on it.
    """

    def losses(model: Any, rows: Sequence[Row]) -> Pass:
        return Pass(lambda: predictions(model, rows, labels).losses(), dict.fromkeys(_after_pooling(model), _one_token))

    return losses


def head_layers(model: Any) -> dict[str, nn.Linear]:
    """The linear layers of a classifier's head by name: those outside the model that reads the text."""
    body = f"{model.base_model_prefix}."
    return {name: layer for name, layer in linear_layers(model).items() if not name.startswith(body)}


def _after_pooling(model: Any) -> list[nn.Linear]:
    """The layers whose input may be one state per text, (texts, width).

    No other layer with such an input is taken to have one state per text: an expert, to which tokens are sent by their
    kind, has one row per token.
    """
    head = head_layers(model)
    return [layer for name, layer in linear_layers(model).items() if name in head or ".pooler." in name]


def _one_token(states: Tensor) -> Tensor:
    return states[:, None] if states.dim() == 2 else states
