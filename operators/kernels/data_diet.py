"""What is done with the scores of a data diet: averaged over runs, and cut (Paul et al. 2021, arXiv 2107.07075)."""

from typing import Literal

import numpy as np

from operators.kernels.ranking import ranked


def mean_over_runs(scores: np.ndarray) -> np.ndarray:
    """(n,) float64 mean of the runs' scores; NaN for a sample that lacks a score in some run.

    scores: (runs, n), each run's own EL2N, gradient norm or count of forgettings. GraNd is such a mean of norms
    (definition 2.1), not the norm of a mean. A sample whose runs are not all there is not compared with those whose
    are. ValueError without a run.
    """
    scores = np.asarray(scores, np.float64)
    if scores.ndim != 2 or not len(scores):
        raise ValueError(f"scores: (runs, n) with a run or more wanted, not {scores.shape}")
    return scores.mean(axis=0)


def forgettings(correct: np.ndarray) -> np.ndarray:
    """(n,) float64 times that each sample went from right to wrong; inf for one that was never right.

    correct: (visits, n) of 0 and 1 or booleans, in order of time: whether the sample was classified correctly when
    it came by (Toneva et al. 2019). ValueError for another value, and without a visit.

    >>> forgettings(np.array([[0, 1, 1, 0], [1, 0, 1, 0], [0, 1, 1, 0], [1, 0, 1, 0]]))
    array([ 1.,  2.,  0., inf])
    """
    correct = np.asarray(correct)
    if correct.ndim != 2 or not len(correct):
        raise ValueError(f"correct: (visits, n) with a visit or more wanted, not {correct.shape}")
    if not np.isin(correct, (0, 1)).all():
        raise ValueError("correct: only 0 and 1 wanted")
    right = correct.astype(bool)
    forgotten = (right[:-1] & ~right[1:]).sum(axis=0)
    return np.where(right.any(axis=0), forgotten, np.inf)


def kept(
    scores: np.ndarray,
    count: int,
    keep: Literal["top", "middle", "bottom", "window"] = "top",
    *,
    offset: int | None = None,
) -> np.ndarray:
    """Positions of the `count` samples that are kept, (count,) int64, best first; ties in ascending position.

    top: the highest scores, the highest first. bottom: the lowest, the lowest first. middle: those whose ranks lie
    nearest to the middle one, nearest first, so that it too holds every smaller one. window: from the ascending
    order those after the first `offset`, the highest first; with it the hardest, often mislabelled, stay out.

    A NaN is no score and never kept; top, bottom and middle give fewer where fewer have a score. ValueError for a
    negative count, for an offset without a window and the reverse, and for a window that does not fit.
    """
    scores = np.asarray(scores, np.float64)
    if count < 0:
        raise ValueError(f"count is from 0 on, not {count}")
    if (keep == "window") != (offset is not None):
        raise ValueError("an offset goes with keep='window' and with nothing else")
    scored = len(scores) - int(np.isnan(scores).sum())
    if keep == "top":
        return ranked(scores)[: min(count, scored)]
    ascending = ranked(-scores)[:scored]
    if keep == "bottom":
        return ascending[:count]
    if keep == "middle":
        return ascending[ranked(-np.abs(np.arange(scored) - (scored - 1) / 2))[:count]]
    if offset is None or keep != "window":
        raise ValueError(f"keep is 'top', 'middle', 'bottom' or 'window', not {keep!r}")
    if not 0 <= offset <= scored - count:
        raise ValueError(f"a window of {count} after {offset} does not fit in {scored} scores")
    window = ascending[offset : offset + count]
    return window[ranked(scores[window])]
