"""Features of per-sample gradients (per_sample.py): whole, or their images under a linear map."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from operators.gradients.per_sample import Factors, Layers, Sink, each, offsets, size
from operators.kernels.influence import squares
from operators.models.by_length import Budget
from operators.models.forward import Row

Feature = Callable[[str, Tensor], Tensor]
"""A function from a parameter's name and its gradients, (rows, p), to that part of the rows' features, (rows, p)."""


def mapped_features(
    model: Any,
    rows: Sequence[Row],
    layers: Layers,
    budget: Budget,
    feature: Feature,
    share: Callable[[str, Tensor], Tensor],
    width: int,
) -> tuple[Tensor, Tensor]:
    """The images of the features under a linear map, without all parameters' gradients in memory at once.

    share: a function from a parameter's name and its part of the features to what that part adds to the image.
    Returns (rows, width) float32 images, and (rows,) float64 squared lengths of the features.
    """
    device = next(model.parameters()).device
    images = torch.zeros(len(rows), width, device=device)
    lengths = torch.zeros(len(rows), dtype=torch.float64, device=device)

    def begun(group: list[int]) -> Sink:
        images[group], lengths[group] = 0, 0

        def take(name: str, factors: Factors) -> None:
            part = feature(name, factors.gradients())
            lengths[group] += squares(part)
            images[group] += share(name, part)

        return take

    each(model, rows, layers, budget, begun)
    return images, lengths


def whole_features(model: Any, rows: Sequence[Row], layers: Layers, budget: Budget, feature: Feature) -> Tensor:
    """(rows, P) float32 features, with the parameters concatenated in the layers' order."""
    places = offsets(layers)
    whole = torch.empty(len(rows), size(layers), device=next(model.parameters()).device)

    def begun(group: list[int]) -> Sink:
        def take(name: str, factors: Factors) -> None:
            part = feature(name, factors.gradients())
            whole[group, places[name] : places[name] + part.shape[1]] = part

        return take

    each(model, rows, layers, budget, begun)
    return whole
