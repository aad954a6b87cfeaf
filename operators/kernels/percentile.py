"""The percentiles of LIFT (arXiv 2312.11508): a cut above which values are kept, and the score of a length."""

from typing import NamedTuple

import numpy as np


class Cut(NamedTuple):
    """A threshold, and which values are above it."""

    value: float
    kept: np.ndarray
    """(n,) bool."""


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
