"""Points as they are stored, and as float32 coordinates from an origin, which are computed a block at a time.

Embeddings are mostly stored in half precision. A float32 copy of them would take twice their memory, and converting a
block costs a few hundredths of the matrix product that it is for.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from operators.kernels.distance import NARROW, spans

if TYPE_CHECKING:
    import torch
else:
    from operators.kernels.on_use import torch


class Placed:
    """Stored points on a device of torch, as coordinates from an origin."""

    def __init__(self, stored: torch.Tensor, origin: np.ndarray):
        """origin: (d,) float64 with values that float32 has (`origin_near`)."""
        self.stored = stored
        self.start = torch.from_numpy(origin).to(stored.device, torch.float32) if origin.any() else None

    def __len__(self) -> int:
        return len(self.stored)

    @property
    def width(self) -> int:
        """The number of dimensions."""
        return self.stored.shape[1]

    def room(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Memory for up to `count` rows that `at` gathers: as stored, and as coordinates."""
        shape = (min(count, len(self)), self.width)
        return self.stored.new_empty(shape), torch.empty(shape, device=self.stored.device)

    def span(self, start: int, stop: int, out: torch.Tensor | None = None) -> torch.Tensor:
        """The coordinates of consecutive rows; in `out`, if given and needed."""
        return self._moved(self.stored[start:stop], out)

    def at(self, rows: np.ndarray, room: tuple[torch.Tensor, torch.Tensor] | None = None) -> torch.Tensor:
        """The coordinates of rows in ascending order; they are in the room, if given, until it is used again."""
        gathered, out = room or self.room(len(rows))
        if len(rows) and rows[-1] - rows[0] + 1 == len(rows):
            return self.span(int(rows[0]), int(rows[-1]) + 1, out)
        index = torch.from_numpy(rows).to(self.stored.device)
        return self._moved(torch.index_select(self.stored, 0, index, out=gathered[: len(rows)]), out)

    def _moved(self, block: torch.Tensor, out: torch.Tensor | None) -> torch.Tensor:
        if self.start is None and block.dtype == torch.float32:
            return block
        found = torch.empty(block.shape, device=block.device) if out is None else out[: len(block)]
        if self.start is None:
            return found.copy_(block)
        if block.dtype == torch.float64:
            start = self.start.double()
            for some, place in zip(block.split(NARROW), found.split(NARROW), strict=True):
                place.copy_(some - start)
            return found
        return torch.sub(found.copy_(block) if block.dtype != torch.float32 else block, self.start, out=found)

    def blocks(self, size: int) -> Iterator[tuple[int, int, torch.Tensor]]:
        """Yields start, stop and coordinates of consecutive blocks; coordinates last until the next block."""
        _, out = self.room(size)
        for start, stop in spans(len(self), size):
            yield start, stop, self.span(start, stop, out)


def tensor(points: np.ndarray) -> torch.Tensor:
    """The points as a tensor that shares their memory where they are contiguous; it must not be written to."""
    with warnings.catch_warnings():  # Ray's arrays are read-only, and are not written to here
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(np.ascontiguousarray(points))


def placed(points: np.ndarray, origin: np.ndarray) -> torch.Tensor:
    """(n, d) float32 coordinates of a few points from the origin; float32 points from zero are not copied."""
    return Placed(tensor(points), origin).span(0, len(points))


def origin_near(point: np.ndarray) -> np.ndarray:
    """(d,) float64, the point rounded to values that float32 has: coordinates from it are rounded only once."""
    return point.astype(np.float32).astype(np.float64)
