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
