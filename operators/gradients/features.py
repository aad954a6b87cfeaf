"""What is made of the gradients of language samples (taps.py): features, whole or under a linear map."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from operators.gradients.taps import Factors, Layers, each, offsets, size
from operators.kernels.influence import squares
from operators.models.forward import Row

Feature = Callable[[str, Tensor], Tensor]
"""Makes of a parameter's name and the rows' gradients (rows, p) that part of the rows' features."""


def mapped_features(
    model: Any,
    rows: Sequence[Row],
    layers: Layers,
    feature: Feature,
    share: Callable[[str, Tensor], Tensor],
    width: int,
) -> tuple[Tensor, Tensor]:
    """(rows, width) float32 images of the features under a linear map, and the features' squared lengths, float64.

    share(name, part) is what a parameter's part of the features adds to the image. All parameters' gradients are never
    there at once.
    """
    device = next(model.parameters()).device
    images = torch.zeros(len(rows), width, device=device)
    lengths = torch.zeros(len(rows), dtype=torch.float64, device=device)

    def take(group: list[int], name: str, factors: Factors) -> None:
        part = feature(name, factors.gradients())
        lengths[group] += squares(part)
        images[group] += share(name, part)

    each(model, rows, layers, take)
    return images, lengths


def whole_features(model: Any, rows: Sequence[Row], layers: Layers, feature: Feature) -> Tensor:
    """(rows, P) float32 features, the parameters one after another."""
    places = offsets(layers)
    whole = torch.empty(len(rows), size(layers), device=next(model.parameters()).device)

    def take(group: list[int], name: str, factors: Factors) -> None:
        part = feature(name, factors.gradients())
        whole[group, places[name] : places[name] + part.shape[1]] = part

    each(model, rows, layers, take)
    return whole
