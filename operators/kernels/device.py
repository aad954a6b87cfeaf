"""What the CPU computes in float64, computed on any device of torch with the same bits: distances and norms.

A device sums the squares of a row in another order than the CPU, so their float64 sums differ in the last bits. Both
round them to float32. Where these bits cannot change the rounding (`float32_bounds`), the device has the CPU's number.
Elsewhere, which is for one number in a million, the CPU computes it from the row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from operators.kernels.distance import distances, spans, squared_norms
from operators.kernels.placed import Placed, tensor

if TYPE_CHECKING:
    import torch
else:
    from operators.kernels.on_use import torch

ROWS = 2**17  # rows of a matrix product at a time: large enough that launching it costs nothing
TABLE = 2**28  # numbers of a matrix product at a time: 1 GB
WIDE = 2**25  # numbers in float64 at a time: 256 MB


def blocks(shape: Sequence[int], numbers: int) -> list[tuple[int, int]]:
    """The (start, stop) pairs of blocks of rows: at most ROWS, and at most this many numbers or one row."""
    count, width = shape
    return spans(count, max(1, min(ROWS, numbers // max(width, 1))))


def on_device(points: np.ndarray, device: str | torch.device, origin: np.ndarray) -> Placed:
    """The points on the device: float16 and float32 as they are stored, float64 as float32 coordinates."""
    if points.dtype != np.float64:
        return Placed(tensor(points).to(device), origin)
    return Placed(sent(points, device, origin), np.zeros_like(origin))


def sent(points: np.ndarray, device: str | torch.device, origin: np.ndarray) -> torch.Tensor:
    """(n, d) float32 coordinates from the origin, on the device, converted there."""
    found = torch.empty(points.shape, device=device)
    start_from = torch.from_numpy(origin).to(device) if origin.any() else None
    for start, stop in blocks(points.shape, WIDE):
        stored = tensor(points[start:stop]).to(device)
        found[start:stop] = stored if start_from is None else stored.double() - start_from
    return found


def float32_norms(points: Placed) -> torch.Tensor:
    """(n,) float32 squared norms, as `squared_norms` but for the last bit."""
    found = torch.empty(len(points), device=points.stored.device)
    for start, stop in blocks(points.stored.shape, WIDE):
        found[start:stop] = _summed(points.span(start, stop))
    return found


def largest_norm(points: Placed) -> float:
    """The largest of the points' `squared_norms` on the CPU; 0 for no points."""
    if not len(points):
        return 0.0
    low, high = torch.empty(2, len(points), device=points.stored.device)
    for start, stop in blocks(points.stored.shape, WIDE):
        low[start:stop], high[start:stop] = float32_bounds(_summed(points.span(start, stop)), points.width)
    floor = low.max()
    unsure = torch.nonzero(high > floor)[:, 0]
    known = squared_norms(points.at(unsure.cpu().numpy()).cpu())
    return max(float(floor), float(known.max()) if len(known) else 0.0)


def exact_distances(points: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """(m,) float32 distance of each float32 point to the other in the same row, with the bits of `distances`."""
    lengths = (points.double() - others.double()).square_().sum(1).sqrt_()
    found, high = float32_bounds(lengths, points.shape[1])
    unsure = torch.nonzero(found != high)[:, 0]
    if len(unsure):
        known = distances(points[unsure].cpu().numpy(), others[unsure].cpu().numpy())
        found[unsure] = torch.from_numpy(known).to(found.device)
    return found


def float32_bounds(sums: torch.Tensor, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The float32 numbers between which the CPU's lie, for float64 sums of `width` squares in any order, or their root.

    Two sums of the same squares, which are not negative, differ by at most 2(d + 1)u of either, with u = 2**-53. A root
    halves that and adds 2u, and the product with this bound adds u.
    """
    share = (width + 8) * 2.0**-52
    return (sums * (1 - share)).float(), (sums * (1 + share)).float()


def _summed(points: torch.Tensor) -> torch.Tensor:
    """(n,) float64 squared norms."""
    return points.double().square_().sum(1)
