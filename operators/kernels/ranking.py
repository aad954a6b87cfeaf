"""A total order of scores: the highest first, and of equal scores the lowest position first."""

import numpy as np


def ranked(scores: np.ndarray) -> np.ndarray:
    """(n,) int64 positions of the scores, the highest score first; ties in ascending position, NaN last.

    >>> ranked(np.array([1.0, 3.0, np.nan, 3.0]))
    array([1, 3, 0, 2])
    """
    scores = np.asarray(scores)
    narrow = scores.dtype in (np.float16, np.float32)  # whose order is the same, in less memory
    return np.argsort(-scores if narrow else -np.asarray(scores, np.float64), kind="stable")
