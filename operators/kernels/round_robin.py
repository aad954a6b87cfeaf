"""Rows that several subtasks choose in turn, each the row that is most similar to one of its targets.

RDS+ (Ivison et al. 2025, arXiv 2503.01807) selects so.
"""

from typing import NamedTuple

import numpy as np

from operators.kernels.distance import finite_matrix, spans
from operators.kernels.on_use import torch
from operators.kernels.products import products
from operators.kernels.ranking import ranked
from operators.kernels.rows import Positions
from operators.kernels.sharding import by_row

BLOCK = 4096
"""Rows whose similarities are computed at a time."""


class Chosen(NamedTuple):
    """Rows in the order in which they were chosen."""

    positions: Positions
    subtasks: np.ndarray
    """(m,) int64, the subtask that chose each row."""


@by_row
def best_similarities(vectors: np.ndarray, *, targets: np.ndarray, subtasks: np.ndarray) -> np.ndarray:
    """(n, s) float32 highest cosine of each row with a target of each subtask.

    vectors: (n, d). targets: (t, d). subtasks: (t,) the subtask of each target, 0 to s - 1; each has a target. A row of
    zeros has the cosine 0. ValueError for a row that is not finite, and where the two differ in d.

    >>> best_similarities(np.array([[1.0, 0.0], [0.6, 0.8]]), targets=np.eye(2), subtasks=np.array([0, 1]))
    array([[1. , 0. ],
           [0.6, 0.8]], dtype=float32)
    """
    vectors, targets = finite_matrix(vectors), finite_matrix(targets, name="targets")
    if vectors.shape[1] != targets.shape[1]:
        raise ValueError(f"vectors have {vectors.shape[1]} dimensions, and targets {targets.shape[1]}")
    order = np.argsort(subtasks, kind="stable")
    starts = np.flatnonzero(np.diff(np.asarray(subtasks)[order], prepend=-1))
    others = torch.from_numpy(_unit(targets[order]))
    found = np.empty((len(vectors), len(starts)), np.float32)
    for start, stop in spans(len(vectors), BLOCK):
        similar = products(torch.from_numpy(_unit(vectors[start:stop])), others).numpy()
        found[start:stop] = np.maximum.reduceat(similar, starts, axis=1)
    return found


def round_robin(scores: np.ndarray, *, count: int) -> Chosen:
    """The rows that s subtasks choose in turn: each the row with its highest score that is not chosen yet.

    scores: (n, s). Ties go to the lowest position. The first rows do not depend on `count`; there are fewer where there
    are fewer rows. ValueError for a negative count.

    >>> round_robin(np.array([[0.9, 0.8], [0.5, 0.7], [0.6, 0.1]]), count=2).positions
    array([0, 1])
    """
    if count < 0:
        raise ValueError(f"count is at least 0, not {count}")
    rows, subtasks = scores.shape
    orders = [iter(ranked(scores[:, subtask]).tolist()) for subtask in range(subtasks)]
    free = np.ones(rows, bool)
    chosen = np.empty(min(count, rows), np.int64)
    for turn in range(len(chosen)):
        chosen[turn] = next(row for row in orders[turn % subtasks] if free[row])
        free[chosen[turn]] = False
    return Chosen(chosen, np.arange(len(chosen)) % max(subtasks, 1))


def _unit(vectors: np.ndarray) -> np.ndarray:
    vectors = vectors.astype(np.float64)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1)
