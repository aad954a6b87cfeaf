"""The scores of a data diet: their mean over runs, and which samples are kept (Paul et al. 2021, arXiv 2107.07075)."""

from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np

from operators.kernels.correlation import mean_ranks, spearman
from operators.kernels.ranking import ranked
from operators.kernels.rows import Positions
from operators.kernels.sharding import by_row

Keep = Literal["top", "middle", "bottom", "window"]


class OverRuns(NamedTuple):
    """The scores of n samples over several runs; a score is an EL2N, a gradient norm or a number of forgettings."""

    mean: np.ndarray
    """(n,) float64; NaN for a sample without a score in some run, because it is not comparable to the others."""
    spread: np.ndarray
    """(n,) float64 standard deviation over the runs; 0 for a single run."""
    agreement: float
    """The mean over all pairs of runs of Spearman's correlation of their scores; NaN for a single run."""


def over_runs(*runs: np.ndarray, times: np.ndarray | None = None) -> OverRuns:
    """The mean of the runs' scores: the mean of norms (definition 2.1), not the norm of a mean.

    runs: (n,) scores each. times: (n,) factors of the scores, the same in every run. The gradient of a mean loss times
    the number of tokens is that of the summed loss, for example. ValueError for no runs, and for runs of different
    lengths.
    """
    if not runs or len({np.shape(run) for run in runs}) > 1:
        raise ValueError(f"a run or more, of as many samples each, wanted, not {[np.shape(run) for run in runs]}")
    scores = np.stack([np.asarray(run, np.float64) for run in runs])
    if times is not None:
        scores *= times
    whole = np.isfinite(scores).all(axis=0)
    spread = np.full(scores.shape[1], np.nan)
    spread[whole] = scores[:, whole].std(axis=0)
    pairs = [spearman(*pair) for pair in combinations(scores[:, whole], 2)]
    return OverRuns(scores.mean(axis=0), spread, float(np.mean(pairs)) if pairs else float("nan"))


def forgettings(correct: np.ndarray) -> np.ndarray:
    """(n,) float64 number of forgettings: how often each sample went from correct to wrong (Toneva et al. 2019).

    correct: (visits, n) of 0 and 1, or booleans, in order of time: whether the sample was predicted correctly when it
    was trained on. A sample that was never correct has inf. ValueError for other values, and for no visits.

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
    keep: Keep = "top",
    *,
    offset: int | None = None,
) -> Positions:
    """Positions of the `count` samples that are kept, (count,) int64, best first; ties in ascending position.

    top: the highest scores, the highest first. bottom: the lowest scores, the lowest first. middle: the scores whose
    ranks are nearest to the middle rank, the nearest first, so that a larger count keeps what a smaller one keeps.
    window: the `count` scores after the first `offset` in ascending order, the highest first; it leaves out the hardest
    samples, which are often mislabelled.

    A NaN is not a score and is never kept: top, bottom and middle return fewer samples where fewer have a score.
    ValueError for a negative count, for an offset without a window or a window without an offset, and for a window that
    does not fit into the scores.
    """
    scores = np.asarray(scores, np.float64)
    if count < 0:
        raise ValueError(f"count is at least 0, not {count}")
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


def closeness(scores: np.ndarray, keep: Literal["top", "middle", "bottom"]) -> np.ndarray:
    """(n,) float64, higher for the scores that `kept` takes first: the score, minus the score, or, for the middle,
    minus the distance of its rank to the middle one, where equal scores share the mean of their ranks.

    >>> closeness(np.array([5.0, 1.0, 3.0]), "middle")
    array([-1., -1., -0.])
    """
    if keep == "middle":
        return -abs(mean_ranks(scores) - (len(scores) - 1) / 2)
    return (scores if keep == "top" else -scores).astype(np.float64)


@by_row
def mean_over(*runs: np.ndarray) -> np.ndarray:
    """(n,) mean of the runs' values, (n,) each, in their type."""
    return np.mean(runs, axis=0)
