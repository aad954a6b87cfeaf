"""Labels of near centroids by products of bytes, for steps of k-means that need not be exact.

Coordinates of points and centroids, from the mean of the centroids, are rounded to multiples of a 127th of the largest
of their row. Products of such integers add up without error in any order, and all that follows is single operations,
each of which rounds once. So no size of a block and no number of threads or shards changes a label, nor does a device.
A label is not always that of the nearest centroid, but that of one about as near: the roundings move a distance by
about a hundredth of the row's length.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from operators.kernels.distance import full_precision, spans, squared_norms

if TYPE_CHECKING:
    import torch
else:
    from operators.kernels.on_use import torch

TOP = 127  # the largest integer of a row
WIDTH = 1024  # products of such integers that float32 adds without error: 1024 * 127**2 < 2**24

Product = Callable[["torch.Tensor", "torch.Tensor"], "torch.Tensor"]
"""product(a, b) is a @ b.T in int32 of two matrices of int8, without error."""


class Rough:
    """Centroids in bytes, for points that are looked at a block at a time."""

    def __init__(self, centroids: np.ndarray, product: Product, device: str | torch.device = "cpu"):
        """centroids: (k, d) float32."""
        origin = torch.from_numpy(centroids.mean(axis=0, dtype=np.float64).astype(np.float32))
        coordinates = torch.from_numpy(centroids) - origin
        halves = squared_norms(coordinates) / 2
        integers, scale = _in_bytes(coordinates)
        self.origin, self.integers, self.halves = origin.to(device), integers.to(device), halves.to(device)
        self.steps = (1 / scale[:, 0]).to(device)
        self.product = product

    def likeness(self, points: torch.Tensor) -> torch.Tensor:
        """(n, k) float32, larger for nearer centroids: product - norm**2 / 2, in units that differ from row to row."""
        integers, scale = _in_bytes(points - self.origin)
        found = self.product(integers, self.integers) * self.steps
        found -= self.halves * scale
        return found


def _in_bytes(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(n, d) int8 integers nearest to the rows times their scales, and these, (n, 1); overwrites the rows."""
    largest = rows.abs().amax(1, keepdim=True)
    scale = TOP / largest.clamp_(min=2.0**-100)
    return rows.mul_(scale).round_().to(torch.int8), scale


def byte_product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """A `Product` on the CPU, nine times as fast as one of float32 where the CPU adds products of bytes (VNNI).

    Other CPUs add pairs of them in 16 bits, where they overflow; and torch 2.13 mistakes the strides of one column.
    """
    if a.shape[1] > 1 and _adds_bytes():
        return torch._int_mm(a, b.T)  # pyright: ignore[reportPrivateImportUsage]
    return float_product(a, b)


@cache
def _adds_bytes() -> bool:
    """Whether this CPU adds products of bytes in 32 bits."""
    largest = torch.full((64, 64), TOP, dtype=torch.int8)
    found = torch._int_mm(largest, largest.T)  # pyright: ignore[reportPrivateImportUsage]
    return bool((found == 64 * TOP**2).all())


def float_product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """A `Product` on any device."""
    with full_precision():
        parts = [(a[:, i:j].float() @ b[:, i:j].float().T).int() for i, j in spans(a.shape[1], WIDTH)]
    return sum(parts[1:], parts[0])
