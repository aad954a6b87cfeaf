"""Matrix products of which each row has the same bits, whichever other rows are multiplied with it.

A library of matrix products chooses the order of its sums by the shapes. So rows are multiplied in blocks of one shape,
the last of which is filled up. Without it the results of a reduce would depend on how its rows are divided.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
else:
    from operators.kernels.on_use import torch

ROWS = 256
COLUMNS = 32
"""Vectors are filled up to a multiple of this: those at the edge of a block are added up in another order."""


def products(rows: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    """(n, s) products of rows, (n, d), and vectors, (s, d), in their type.

    >>> products(torch.eye(2), torch.tensor([[1.0, 2.0]])).tolist()
    [[1.0], [2.0]]
    """
    count = len(vectors)
    others = _filled(vectors, -(-count // COLUMNS) * COLUMNS).T.contiguous()
    return torch.cat([_filled(block, ROWS) @ others for block in rows.split(ROWS)])[: len(rows), :count]


def _filled(matrix: torch.Tensor, rows: int) -> torch.Tensor:
    """The matrix with rows of zeros up to this number of rows."""
    return torch.nn.functional.pad(matrix, (0, 0, 0, rows - len(matrix))) if len(matrix) < rows else matrix
