"""A threshold for a wanted share of the scores."""

import numpy as np


def threshold_for(scores: np.ndarray, fraction: float) -> float:
    """The score at or above which the share of the scores comes nearest to the fraction; of two the higher.

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
    """How many scores have each value, to two decimals, lowest first."""
    values, counts = np.unique(np.round(scores, 2), return_counts=True)
    return {f"{value:g}": int(count) for value, count in zip(values, counts, strict=True)}


def threshold_above(scores: np.ndarray, fraction: float) -> float:
    """A threshold that at least this fraction of the scores lies strictly above, and no more than ties ask for.

    >>> threshold_above(np.array([1.0, 2.0, 3.0, 4.0]), 0.5)
    2.0
    """
    descending = np.sort(scores)[::-1]
    last = descending[max(1, int(np.ceil(fraction * len(descending)))) - 1]
    below = descending[descending < last]
    return float(below[0]) if len(below) else float(np.nextafter(last, -np.inf))


def threshold_below(scores: np.ndarray, fraction: float) -> float:
    """A threshold that at least this fraction of the scores lies strictly below, and no more than ties ask for.

    >>> threshold_below(np.array([1.0, 2.0, 3.0, 4.0]), 0.5)
    3.0
    """
    return -threshold_above(-np.asarray(scores), fraction)
