"""Rows that several subtasks choose in turn, each the row that is most similar to one of its targets.

RDS+ (Ivison et al. 2025, arXiv 2503.01807) selects so. The similarities of all rows with all subtasks stay in the
shards. The driver asks for the best free rows of each subtask and lets the subtasks choose until one has come to the
end of its list; then it says what was chosen, and asks again.
"""

from dataclasses import dataclass

import numpy as np

from operators.kernels.distance import finite_matrix, spans
from operators.kernels.on_use import torch
from operators.kernels.products import products
from operators.kernels.rows import Positions
from operators.kernels.sharding import Ask, Tell, here, sharded, silent
from operators.kernels.top import highest

BLOCK = 4096
"""Rows whose similarities are computed at a time."""
LEAST, MOST = 64, 1 << 16
"""How many free rows of a subtask a shard names at a time."""


@dataclass(frozen=True)
class Chosen:
    """Rows in the order in which they were chosen, and how similar all rows are."""

    positions: Positions
    chosen_by: np.ndarray
    """(m,) int64, the subtask that chose each row."""
    scores: np.ndarray
    """(n,) float32, the highest cosine of each row with a target."""
    subtasks: np.ndarray
    """(n,) int32, the subtask of that target, the lowest on ties."""


class Similarities:
    """A shard: how similar some rows are to the subtasks. It drops the rows when they have been compared."""

    condensed = True

    def __init__(self, vectors: np.ndarray, offset: int = 0):
        """ValueError for a row that is not finite."""
        self.vectors, self.offset = finite_matrix(vectors, offset), offset
        self.free = np.empty((0, len(self.vectors)), np.float32)
        """(s, n), the similarities of the rows that were not chosen yet, NaN for the others."""

    def compare(self, targets: np.ndarray, subtasks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The highest similarity of each row, and the subtask that has it; the first question."""
        similar = best_similarities(self.vectors, targets=targets, subtasks=subtasks)
        self.vectors = np.empty((0, self.vectors.shape[1]))  # no view of the rows, which would keep them in memory
        self.free = np.ascontiguousarray(similar.T)
        return similar.max(axis=1), similar.argmax(axis=1).astype(np.int32)

    def best(self, chosen: np.ndarray, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """The positions and similarities of at most `count` free rows per subtask, the most similar first.

        chosen: the rows that are not free any more since the last question.
        """
        mine = chosen[(chosen >= self.offset) & (chosen < self.offset + self.free.shape[1])]
        self.free[:, mine - self.offset] = np.nan
        found = []
        for similar in self.free:
            rows = highest(similar, count=count)
            rows = rows[~np.isnan(similar[rows])]
            found.append((rows + self.offset, similar[rows]))
        return found


def in_turn(ask: Ask, *, targets: np.ndarray, subtasks: np.ndarray, count: int, tell: Tell = silent) -> Chosen:
    """The driver of `chosen_in_turn`."""
    if count < 0:
        raise ValueError(f"count is at least 0, not {count}")
    scores, best = map(np.concatenate, zip(*ask("compare", targets, subtasks), strict=True))
    tasks = len(np.unique(subtasks))
    chosen, made, told = np.empty(min(count, len(scores)), np.int64), 0, 0
    free = np.ones(len(scores), bool)
    size = min(max(2 * -(-len(chosen) // tasks), LEAST), MOST)
    while made < len(chosen):
        lists = [iter(each.tolist()) for each in _merged(ask("best", chosen[told:made], size), size)]
        told = made
        while made < len(chosen):
            row = next((row for row in lists[made % tasks] if free[row]), None)
            if row is None:  # the shards have to name more
                break
            free[row] = False
            chosen[made] = row
            made += 1
        tell(f"{made:,} of {len(chosen):,} rows chosen", made / len(chosen))
    return Chosen(chosen, np.arange(len(chosen)) % tasks, scores, best)


def _merged(answers: list[list[tuple[np.ndarray, np.ndarray]]], size: int) -> list[np.ndarray]:
    """The best `size` free rows of all shards, per subtask, the most similar first and ties in ascending position.

    What is behind them may be behind rows that a shard did not name.
    """
    merged = []
    for of_shards in zip(*answers, strict=True):
        rows, similar = map(np.concatenate, zip(*of_shards, strict=True))
        merged.append(rows[np.lexsort((rows, -similar))][:size])
    return merged


@sharded(Similarities, in_turn)
def chosen_in_turn(vectors: np.ndarray, *, targets: np.ndarray, subtasks: np.ndarray, count: int) -> Chosen:
    """The rows that s subtasks choose in turn: each the row with its highest similarity that is not chosen yet.

    vectors, targets, subtasks: as for `best_similarities`. Ties go to the lowest position. The first rows do not depend
    on `count`; there are fewer where there are fewer rows. ValueError for a negative count, and as there.

    >>> rows = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    >>> chosen_in_turn(rows, targets=np.eye(2), subtasks=np.array([0, 1]), count=3).positions
    array([0, 2, 1])
    """
    return in_turn(here(Similarities(vectors)), targets=targets, subtasks=subtasks, count=count)


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


def _unit(vectors: np.ndarray) -> np.ndarray:
    vectors = vectors.astype(np.float64)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1)
