"""What is done with the scores of a data diet: averaged over runs, and cut (Paul et al. 2021, arXiv 2107.07075)."""

from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np

from operators.kernels.correlation import spearman
from operators.kernels.ranking import ranked
from operators.kernels.rows import Positions

Keep = Literal["top", "middle", "bottom", "window"]


class OverRuns(NamedTuple):
    """What several runs say of n samples, each run by a score of its own: EL2N, a gradient's length, forgettings."""

    mean: np.ndarray
    """(n,) float64; NaN for a sample that lacks a score in some run, as it is not to be compared with the others."""
    spread: np.ndarray
    """(n,) float64 standard deviation over the runs; 0 of a single one."""
    agreement: float
    """Spearman's correlation of two runs' scores, the mean over all pairs; NaN of a single run."""


def over_runs(*runs: np.ndarray, times: np.ndarray | None = None) -> OverRuns:
    """The mean of the runs' scores, which are lengths: the mean of norms (definition 2.1), not the norm of a mean.

    runs: (n,) each. times: (n,) what each score counts, in every run: a mean loss's slope times the tokens is that of
    the summed loss. ValueError without a run, and for runs of different lengths.
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
    keep: Keep = "top",
    *,
    offset: int | None = None,
) -> Positions:
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


def counts_by_label(labels: np.ndarray, kept: np.ndarray) -> dict[str, int]:
    """How many samples of each label are kept, 0 where none is; labels: (n,) strings, kept: (n,) booleans.

    >>> counts_by_label(np.array(["joy", "anger", "joy"]), np.array([True, False, True]))
    {'anger': 0, 'joy': 2}
    """
    names, codes = np.unique(labels, return_inverse=True)
    return dict(zip(names.tolist(), np.bincount(codes[kept], minlength=len(names)).tolist(), strict=True))
