"""Thresholds for a given share of the scores, and what passes a threshold.

Shares are found as `top` finds ranks: the scores are counted, over any number of shards, and not sorted.
"""

import math
from decimal import Decimal
from functools import partial

import numpy as np

from operators.kernels.sharding import Ask, Tell, by_row, here, sharded, silent
from operators.kernels.top import Scores, at_rank, number


def nearest(ask: Ask, *, fraction: float, tell: Tell = silent) -> float:
    """The driver of `threshold_for`."""
    rows = sum(rows for rows, _ in ask("kind"))
    if not rows:
        raise ValueError("no score to choose a threshold from")
    key, _ = at_rank(ask, _rank(fraction, rows))
    below, above = _beside(ask, 1, key)
    descending = [each for each in (above, key, below) if each]
    gaps = [abs(sum(ask("reaching", each)) / rows - fraction) for each in descending]
    return number(descending[int(np.argmin(gaps))]) if gaps else float("nan")


@sharded(Scores, nearest)
def threshold_for(scores: np.ndarray, fraction: float) -> float:
    """The score for which the share of scores at or above it is nearest to the fraction; on ties the higher score.

    NaN is at or above no score. ValueError for no scores.

    >>> threshold_for(np.array([1.0, 2.0, 2.0, 5.0]), 0.3)
    5.0
    """
    return nearest(here(Scores(scores)), fraction=fraction)


def beyond(ask: Ask, *, fraction: float, sign: int = 1, tell: Tell = silent) -> float:
    """The driver of `threshold_above` and, with sign -1, of `threshold_below`."""
    shards = ask("kind")
    rows, kind = sum(rows for rows, _ in shards), np.result_type(*(kind for _, kind in shards))
    key, _ = at_rank(ask, _rank(fraction, rows), sign)
    if not key:  # as many are NaN
        return -sign * np.inf
    below, _ = _beside(ask, sign, key)
    # In the type of the scores: between two numbers of float32 there is none that they could be compared with.
    last = np.array(number(key), kind if kind.kind == "f" else np.float64)
    return sign * float(number(below) if below else np.nextafter(last, last.dtype.type(-np.inf))) + 0.0


@sharded(Scores, beyond)
def threshold_above(scores: np.ndarray, fraction: float) -> float:
    """A threshold such that at least this fraction of the scores is strictly above it, and no more than ties require.

    NaN is above no threshold. Where too few are numbers the threshold is -inf.

    >>> threshold_above(np.array([1.0, 2.0, 3.0, 4.0]), 0.5)
    2.0
    """
    return beyond(here(Scores(scores)), fraction=fraction)


@sharded(Scores, partial(beyond, sign=-1))
def threshold_below(scores: np.ndarray, fraction: float) -> float:
    """A threshold such that at least this fraction of the scores is strictly below it, and no more than ties require.

    NaN is below no threshold. Where too few are numbers the threshold is inf.

    >>> threshold_below(np.array([1.0, 2.0, 3.0, 4.0]), 0.5)
    3.0
    """
    return beyond(here(Scores(scores)), fraction=fraction, sign=-1)


@by_row
def are_above(scores: np.ndarray, *, threshold: float) -> np.ndarray:
    """(n,) bool, whether each score is above the threshold."""
    return scores > threshold


@by_row
def are_below(scores: np.ndarray, *, threshold: float) -> np.ndarray:
    """(n,) bool, whether each score is below the threshold."""
    return scores < threshold


@by_row
def are_at_least(scores: np.ndarray, *, threshold: float) -> np.ndarray:
    """(n,) bool, whether each score is at or above the threshold."""
    return scores >= threshold


def histogram(scores: np.ndarray) -> dict[str, int]:
    """The number of scores per value, rounded to two decimals, the lowest value first."""
    values, counts = np.unique(np.round(scores, 2), return_counts=True)
    return {f"{value:g}": int(count) for value, count in zip(values, counts, strict=True)}


def _rank(fraction: float, rows: int) -> int:
    """The rank, from 1, at which at least this fraction of the rows is reached; of 100 rows, 0.07 is reached at 7.

    The product of floats is above 7 there.
    """
    return min(max(1, math.ceil(Decimal(str(float(fraction))) * rows)), rows)


def _beside(ask: Ask, sign: int, key: int) -> tuple[int, int]:
    """The highest key below this one, and the lowest above it, of all shards; 0 where there is none."""
    below, above = zip(*ask("beside", sign, key), strict=True)
    return max(below), min((each for each in above if each), default=0)
