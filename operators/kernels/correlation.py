"""Rank correlation of two columns of scores."""

import numpy as np


def spearman(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's rank correlation of two columns, from -1 to 1.

    first, second: (n,); equal values share the mean of their ranks. NaN for fewer than two samples, or where all values
    of a column are equal. ValueError for columns of different lengths, or a NaN.

    >>> spearman(np.array([1.0, 2.0, 3.0]), np.array([10.0, 30.0, 20.0]))
    0.5
    """
    first, second = (np.asarray(column, np.float64) for column in (first, second))
    if first.ndim != 1 or first.shape != second.shape:
        raise ValueError(f"two columns of one length wanted, not {first.shape} and {second.shape}")
    if np.isnan(first).any() or np.isnan(second).any():
        raise ValueError("a NaN has no rank")
    if len(first) < 2:
        return float("nan")
    first, second = (ranks - ranks.mean() for ranks in (mean_ranks(first), mean_ranks(second)))
    length = np.sqrt((first @ first) * (second @ second))
    return float(first @ second / length) if length else float("nan")


def mean_ranks(values: np.ndarray) -> np.ndarray:
    """(n,) float64 ranks from 0, the lowest value first; equal values share the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts + 1) / 2)[inverse]
