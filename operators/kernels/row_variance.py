"""Row variance: how unevenly a row's standardised embedding spreads over the principal axes, and LIFT's length score.

The variety step of LIFT (arXiv 2312.11508) standardises the columns of the embeddings and projects them on the axes
that explain 95 % of the variance. A row's score is the variance of its coordinates, and the fifth of the rows with the
highest scores is kept. Large values mark rows far from the center. The score is not a norm: flipping the sign of an
axis changes it, so the signs of the axes are part of the definition.

The axes of standardised columns are the eigenvectors of the correlation matrix. That needs only `Moments`, which add
up:

    axes = principal_axes(sum_of_all(moments(part) for part in parts))
    scores = [axes_variance(part, axes) for part in parts]

Everything is computed in float64. The rows are always divided into the same sixteen parts, of whole blocks, and the
moments of the parts are added up in their order. So the number of shards, each of which holds some of the parts,
changes no bit. Axes with equal eigenvalues are not determined, and then the scores are not either.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import reduce
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np

from operators.kernels.distance import BLOCK, finite_matrix, spans
from operators.kernels.sharding import Ask, Tell, here, sharded, silent

PARTS = 16
ROUNDING = 1e-10  # relative; values closer than this count as equal where an axis is chosen or its sign is

Components = Literal["reach", "one_fewer"]
Signs = Literal["loadings", "projections"]


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


class RowVariance(NamedTuple):
    """The score of each row, and the number of axes that it uses."""

    values: np.ndarray
    """(n,) float64."""
    components: int


class Cut(NamedTuple):
    """A threshold, and which values are above it."""

    value: float
    kept: np.ndarray
    """(n,) bool."""


class Variety:
    """A shard of the rows: some of the parts."""

    def __init__(self, embeddings: np.ndarray, offset: int = 0):
        """ValueError for a row that is not finite."""
        self.rows, self.offset = finite_matrix(embeddings, offset, "embeddings"), offset

    def extent(self) -> int:
        """The number of rows."""
        return len(self.rows)

    def _parts(self, total: int) -> Iterator[np.ndarray]:
        """The parts of all `total` rows that are in this shard, but for empty ones."""
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
    """Where the parts of so many rows begin, and the end; each has whole blocks."""
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


def extremes(embeddings: np.ndarray, axes: Axes) -> np.ndarray:
    """(q,) float64, on each axis the coordinate with the largest absolute value; on ties, that of the first row."""
    rows = finite_matrix(embeddings, name="embeddings")
    found = np.zeros(len(axes.directions))
    for start, stop in spans(len(rows), BLOCK):
        found = _farther([found, *axes.projections(rows[start:stop])])
    return found


def turned(axes: Axes, extremes_of_shards: Iterable[np.ndarray]) -> Axes:
    """The axes with signs that make the coordinate with the largest absolute value positive, as in older scikit-learn.

    (That is svd_flip(u_based_decision=True).) extremes_of_shards: what `extremes` returns for each shard.
    """
    signs = np.where(_farther(list(extremes_of_shards)) < 0, -1.0, 1.0)
    return replace(axes, directions=axes.directions * signs[:, None])


def _farther(coordinates: list[np.ndarray]) -> np.ndarray:
    """The entry of each column with the largest absolute value, the first on ties."""
    table = np.array(coordinates)
    sizes = np.abs(table)
    first = (sizes >= sizes.max(axis=0) * (1 - ROUNDING)).argmax(axis=0)
    return table[first, np.arange(table.shape[1])]


def axes_variance(embeddings: np.ndarray, axes: Axes) -> np.ndarray:
    """(n,) float64 population variance of each row's coordinates on the axes."""
    rows = finite_matrix(embeddings, name="embeddings")
    found = np.empty(len(rows))
    for start, stop in spans(len(rows), BLOCK):
        found[start:stop] = axes.projections(rows[start:stop]).var(axis=1)
    return found


def percentile_cut(values: np.ndarray, percentile: float = 80) -> Cut:
    """The percentile of the values, by linear interpolation, and which values are strictly above it.

    Where many values tie with the percentile, fewer values are above it than the percentile suggests, or none.
    ValueError for no values, a NaN, and a percentile outside 0 to 100.

    >>> percentile_cut(np.array([9.0, 0.0, 1.0, 0.0, 16.0]), 75)
    Cut(value=9.0, kept=array([False, False, False, False,  True]))
    """
    values = np.asarray(values, np.float64)
    if not len(values):
        raise ValueError("no values to cut")
    if np.isnan(values).any():
        raise ValueError(f"the value of row {int(np.isnan(values).argmax())} is NaN")
    if not 0 <= percentile <= 100:
        raise ValueError(f"percentile is from 0 to 100, not {percentile!r}")
    value = float(np.percentile(values, percentile))
    return Cut(value, values > value)


def length_score(lengths: np.ndarray, percentile: float = 98) -> np.ndarray:
    """(n,) float64 length scores: 100 from the percentile of the lengths on, and in proportion to the length below it.

    lengths: (n,) in characters. Where the percentile is 0, every row has 100. ValueError for a length that is negative
    or not finite, and as `percentile_cut`.

    >>> length_score(np.array([10, 20, 40]), 50)
    array([ 50., 100., 100.])
    """
    lengths = np.asarray(lengths, np.float64)
    bad = ~((lengths >= 0) & (lengths < np.inf))
    if bad.any():
        raise ValueError(f"the length of row {int(bad.argmax())} is {lengths[bad.argmax()]}")
    full = percentile_cut(lengths, percentile).value
    return np.where(lengths >= full, 100.0, 100 * lengths / (full or 1))
