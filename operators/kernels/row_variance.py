"""Row variance: how unevenly a row's standardised embedding spreads over the principal axes.

The variety step of LIFT (arXiv 2312.11508) standardises the columns of the embeddings and projects them on the axes
that explain 95 % of the variance. A row's score is the variance of its coordinates, and the fifth of the rows with the
highest scores is kept. Large values mark rows far from the center. The score is not a norm: flipping the sign of an
axis changes it, so the signs of the axes are part of the definition.

Everything is computed in float64. The rows are always divided into the same sixteen parts, of whole blocks, and the
moments of the parts are added up in their order. So the number of shards, each of which holds some of the parts,
changes no bit. Axes with equal eigenvalues are not determined, and then the scores are not either.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np

from operators.kernels.distance import BLOCK, finite_matrix, spans
from operators.kernels.principal_axes import (
    Axes,
    Components,
    Moments,
    extremes,
    moments,
    principal_axes,
    sum_of_all,
    turned,
)
from operators.kernels.sharding import Ask, Tell, here, sharded, silent

PARTS = 16

Signs = Literal["loadings", "projections"]


class RowVariance(NamedTuple):
    """The score of each row, and the number of axes that it uses."""

    values: np.ndarray
    """(n,) float64."""
    components: int


class Variety:
    """A shard of the rows: some of the parts."""

    def __init__(self, embeddings: np.ndarray, offset: int = 0):
        """ValueError for a row that is not finite."""
        self.rows, self.offset = finite_matrix(embeddings, offset, "embeddings"), offset

    def extent(self) -> int:
        """The number of rows."""
        return len(self.rows)

    def _parts(self, total: int) -> Iterator[np.ndarray]:
        """The parts of all `total` rows that are in this shard, without empty ones."""
        for start, stop in pairwise(parts(total)):
            if stop > start and self.offset <= start < self.offset + len(self.rows):
                yield self.rows[start - self.offset : stop - self.offset]

    def moments(self, total: int) -> list[Moments]:
        """The moments of each part in this shard."""
        return [moments(part) for part in self._parts(total)]

    def extremes(self, total: int, axes: Axes) -> list[np.ndarray]:
        """The extremes of each part in this shard."""
        return [extremes(part, axes) for part in self._parts(total)]

    def variance(self, total: int, axes: Axes) -> np.ndarray:
        """(n,) float64 variance of each row's coordinates."""
        return np.concatenate([np.empty(0), *(axes_variance(part, axes) for part in self._parts(total))])


def parts(total: int) -> list[int]:
    """The position at which each part of `total` rows begins, and the end; each part has whole blocks."""
    count = -(-total // BLOCK)
    return [min(total, BLOCK * (count * part // PARTS)) for part in range(PARTS + 1)]


def variety(
    ask: Ask,
    explained: float = 0.95,
    *,
    components: Components = "reach",
    signs: Signs = "loadings",
    tell: Tell = silent,
) -> RowVariance:
    """The variances of all shards' rows; otherwise as `row_variance`."""
    if signs not in ("loadings", "projections"):
        raise ValueError(f"signs are by 'loadings' or 'projections', not {signs!r}")
    total = sum(ask("extent"))
    found = [each for answer in ask("moments", total) for each in answer]
    axes = principal_axes(sum_of_all(found or [moments(np.empty((0, 1)))]), explained, components)
    tell("principal axes", 0.5)
    if signs == "projections":
        axes = turned(axes, [each for answer in ask("extremes", total, axes) for each in answer])
    return RowVariance(np.concatenate(ask("variance", total, axes)), len(axes.directions))


@sharded(Variety, variety, parts)
def row_variance(
    embeddings: np.ndarray,
    explained: float = 0.95,
    *,
    components: Components = "reach",
    signs: Signs = "loadings",
) -> RowVariance:
    """The variance of each row's coordinates on the principal axes.

    embeddings: (n, d) float16, float32 or float64. explained, components: as for `principal_axes`. signs: of the axes,
    as `principal_axes` sets them ("loadings"), or as `turned` does ("projections"). ValueError as those functions.

    >>> row_variance(np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]) * [1, 9]).components
    2
    """
    return variety(here(Variety(embeddings)), explained, components=components, signs=signs)


def axes_variance(embeddings: np.ndarray, axes: Axes) -> np.ndarray:
    """(n,) float64 population variance of each row's coordinates on the axes."""
    rows = finite_matrix(embeddings, name="embeddings")
    found = np.empty(len(rows))
    for start, stop in spans(len(rows), BLOCK):
        found[start:stop] = axes.projections(rows[start:stop]).var(axis=1)
    return found
