"""Principal axes of standardised columns, from moments that add up.

    axes = principal_axes(sum_of_all(moments(part) for part in parts))

The axes of standardised columns are the eigenvectors of the correlation matrix, which needs only the `Moments` of the
rows. Everything is computed in float64. Axes with equal eigenvalues are not determined.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import reduce
from typing import Literal

import numpy as np

from operators.kernels.distance import BLOCK, finite_matrix, spans

ROUNDING = 1e-10  # relative; values closer than this count as equal where an axis is chosen or its sign is

Components = Literal["reach", "one_fewer"]


@dataclass(frozen=True)
class Moments:
    """The mean of n rows, and the sum of the outer products of their deviations from it.

    Sums of the rows and of their outer products would be simpler to add up, but would lose the variance of a column
    whose mean is large.
    """

    count: int
    mean: np.ndarray
    """(d,) float64."""
    scatter: np.ndarray
    """(d, d) float64."""

    def __add__(self, other: "Moments") -> "Moments":
        """The moments of the rows of both (Chan, Golub and LeVeque 1983)."""
        count = self.count + other.count
        gap, share = other.mean - self.mean, other.count / max(count, 1)
        between = np.outer(gap, gap) * (self.count * share)
        return Moments(count, self.mean + gap * share, self.scatter + other.scatter + between)


@dataclass(frozen=True)
class Axes:
    """The standardisation of embeddings, and the q principal axes that they are projected on."""

    mean: np.ndarray
    """(d,) float64."""
    scale: np.ndarray
    """(d,) float64 standard deviation of each column; 1 where a column is constant."""
    directions: np.ndarray
    """(q, d) float64 unit vectors, the largest variance first."""
    explained: float
    """The share of the variance that these axes explain."""

    def projections(self, embeddings: np.ndarray) -> np.ndarray:
        """(n, q) float64 coordinates of the standardised embeddings."""
        return (embeddings.astype(np.float64) - self.mean) / self.scale @ self.directions.T


def moments(embeddings: np.ndarray) -> Moments:
    """The moments of (n, d) embeddings; ValueError where a value is not finite."""
    rows = finite_matrix(embeddings, name="embeddings")
    width = rows.shape[1]
    found = Moments(0, np.zeros(width), np.zeros((width, width)))
    for start, stop in spans(len(rows), BLOCK):
        block = rows[start:stop].astype(np.float64)
        mean = block.mean(axis=0)
        block -= mean
        found += Moments(len(block), mean, block.T @ block)
    return found


def sum_of_all(shards: Iterable[Moments]) -> Moments:
    """The moments of the rows of all shards, of which there is at least one."""
    return reduce(Moments.__add__, shards)


def principal_axes(found: Moments, explained: float = 0.95, components: Components = "reach") -> Axes:
    """The eigenvectors of the correlation matrix, with signs that make the largest loading of each positive.

    components: "reach" returns as many axes as explain the share `explained` of the variance, as the paper does.
    "one_fewer" returns one axis fewer, but at least one, as the released code does, which takes an index from 0 for a
    count. Where several loadings are the largest, the first column's is positive, as in scikit-learn's
    svd_flip(u_based_decision=False).

    ValueError where all rows are equal, or there are none, and for an `explained` outside (0, 1].
    """
    if not 0 < explained <= 1:
        raise ValueError(f"explained is a share of the variance above 0, at most 1, not {explained!r}")
    if components not in ("reach", "one_fewer"):
        raise ValueError(f"components are 'reach' or 'one_fewer', not {components!r}")
    scale, correlation = _standardised(found)
    if not correlation.any():
        raise ValueError(f"{found.count} rows, all the same: they have no principal axes")
    eigenvalues, vectors = np.linalg.eigh(correlation)
    shares = np.cumsum(np.maximum(eigenvalues[::-1], 0))
    shares /= shares[-1]
    reach = int((shares >= explained - ROUNDING).argmax()) + 1
    count = reach if components == "reach" else max(reach - 1, 1)
    directions = vectors.T[::-1][:count]
    sizes = np.abs(directions)
    largest = (sizes >= sizes.max(axis=1, keepdims=True) * (1 - ROUNDING)).argmax(axis=1)
    signs = np.sign(directions[np.arange(count), largest])
    return Axes(found.mean, scale, directions * signs[:, None], float(shares[count - 1]))


def _standardised(found: Moments) -> tuple[np.ndarray, np.ndarray]:
    """The scale of the columns, (d,), and their correlations, (d, d), which are zero for constant columns."""
    count = max(found.count, 1)
    variance = np.diag(found.scatter) / count
    # Rounding gives a constant column a variance up to this; scikit-learn's StandardScaler uses the same bound.
    epsilon = np.finfo(np.float64).eps
    constant = variance <= count * epsilon * variance + (count * found.mean * epsilon) ** 2
    scale = np.where(constant, 1, np.sqrt(variance))
    correlation = found.scatter / count / scale / scale[:, None]
    correlation[constant] = 0
    correlation[:, constant] = 0
    return scale, correlation


def turned(axes: Axes, extremes_of_shards: Iterable[np.ndarray]) -> Axes:
    """The axes with signs that make the coordinate with the largest absolute value positive, as in older scikit-learn.

    (That is svd_flip(u_based_decision=True).) extremes_of_shards: what `extremes` returns for each shard.
    """
    signs = np.where(_farther(list(extremes_of_shards)) < 0, -1.0, 1.0)
    return replace(axes, directions=axes.directions * signs[:, None])


def extremes(embeddings: np.ndarray, axes: Axes) -> np.ndarray:
    """(q,) float64, on each axis the coordinate with the largest absolute value; on ties, that of the first row."""
    rows = finite_matrix(embeddings, name="embeddings")
    found = np.zeros(len(axes.directions))
    for start, stop in spans(len(rows), BLOCK):
        found = _farther([found, *axes.projections(rows[start:stop])])
    return found


def _farther(coordinates: list[np.ndarray]) -> np.ndarray:
    """The entry of each column with the largest absolute value, the first on ties."""
    table = np.array(coordinates)
    sizes = np.abs(table)
    first = (sizes >= sizes.max(axis=0) * (1 - ROUNDING)).argmax(axis=0)
    return table[first, np.arange(table.shape[1])]
