"""The bootstrap's percentile interval of a mean over samples."""

from typing import NamedTuple

import numpy as np

BLOCK = 1 << 22
"""Positions drawn at a time: 32 MB."""


class Interval(NamedTuple):
    """An estimate, and the bounds of its interval."""

    estimate: float
    low: float
    high: float


def interval(
    totals: np.ndarray, counts: np.ndarray | None = None, *, level: float = 0.95, draws: int = 1000, seed: int = 0
) -> Interval:
    """sum(totals) / sum(counts), with its percentile interval (Efron and Tibshirani 1993, section 13.3).

    The samples are drawn again with replacement, `draws` times. totals, counts: (n,); the default counts are 1, which
    gives the mean. For a mean loss per token, totals are the samples' summed losses and counts their numbers of tokens:
    the tokens of a sample are drawn together, because they are not independent. level: the share of the draws that
    lies inside the interval. ValueError for no samples, a value that is not finite, or a count that is not positive.

    To compare two models on the same samples, use the differences of their totals, not their two intervals.

    >>> interval(np.array([1.0, 2.0, 3.0]), draws=2000)
    Interval(estimate=2.0, low=1.0, high=3.0)
    """
    totals = np.asarray(totals, np.float64)
    counts = np.ones_like(totals) if counts is None else np.asarray(counts, np.float64)
    _check(totals, counts, level, draws)
    random = np.random.default_rng(seed)
    n = len(totals)
    ratios = np.empty(draws)
    for start in range(0, draws, size := max(1, BLOCK // n)):
        drawn = random.integers(n, size=(min(size, draws - start), n))
        ratios[start : start + len(drawn)] = totals[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.quantile(ratios, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(totals.sum() / counts.sum()), float(low), float(high))


def _check(totals: np.ndarray, counts: np.ndarray, level: float, draws: int) -> None:
    if totals.ndim != 1 or totals.shape != counts.shape or not len(totals):
        raise ValueError(f"totals and counts have one value per sample each, not {totals.shape} and {counts.shape}")
    if not (np.isfinite(totals).all() and np.isfinite(counts).all() and (counts > 0).all()):
        raise ValueError("a total is not finite, or a count is not a positive number")
    if not 0 < level < 1 or draws < 1:
        raise ValueError(f"level is between 0 and 1, and draws at least 1, not {level} and {draws}")
