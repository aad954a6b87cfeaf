"""A total order of scores: the highest first, the lowest position among equals."""

import numpy as np


def ranked(scores: np.ndarray) -> np.ndarray:
    """Positions of the scores, best first; ties in ascending position, NaN last. (n,) int64.

    >>> ranked(np.array([1.0, 3.0, np.nan, 3.0]))
    array([1, 3, 0, 2])
    """
    return np.argsort(-np.asarray(scores, np.float64), kind="stable")
