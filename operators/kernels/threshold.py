"""Thresholds for a given share of the scores."""

import numpy as np


def threshold_for(scores: np.ndarray, fraction: float) -> float:
    """The score for which the share of scores at or above it is nearest to the fraction; on ties the higher score.

    ValueError for no scores.

    >>> threshold_for(np.array([1.0, 2.0, 2.0, 5.0]), 0.3)
    5.0
    """
    values, counts = np.unique(scores, return_counts=True)
    if not len(values):
        raise ValueError("no score to choose a threshold from")
    shares = np.cumsum(counts[::-1])[::-1] / len(scores)
    gaps = np.abs(shares - fraction)
    return float(values[len(gaps) - 1 - int(np.argmin(gaps[::-1]))])


def histogram(scores: np.ndarray) -> dict[str, int]:
    """The number of scores per value, rounded to two decimals, the lowest value first."""
    values, counts = np.unique(np.round(scores, 2), return_counts=True)
    return {f"{value:g}": int(count) for value, count in zip(values, counts, strict=True)}


def threshold_above(scores: np.ndarray, fraction: float) -> float:
    """A threshold such that at least this fraction of the scores is strictly above it, and no more than ties require.

    >>> threshold_above(np.array([1.0, 2.0, 3.0, 4.0]), 0.5)
    2.0
    """
    descending = np.sort(scores)[::-1]
    last = descending[max(1, int(np.ceil(fraction * len(descending)))) - 1]
    below = descending[descending < last]
    return float(below[0]) if len(below) else float(np.nextafter(last, -np.inf))


def threshold_below(scores: np.ndarray, fraction: float) -> float:
    """A threshold such that at least this fraction of the scores is strictly below it, and no more than ties require.

    >>> threshold_below(np.array([1.0, 2.0, 3.0, 4.0]), 0.5)
    3.0
    """
    return -threshold_above(-np.asarray(scores), fraction)
