"""A data diet that changes as a model is trained (Attendu and Corbeil 2023, arXiv 2306.03208).

After every few epochs the model scores all samples, the scores so far are smoothed, and training goes on with the
samples whose smoothed scores are highest. Smoothing uses the history of scores alone, so the choice of any cycle can be
repeated from it.
"""

from typing import Literal

import numpy as np

from operators.kernels.ranking import ranked
from operators.kernels.rows import Positions

Joint = Literal["norm", "sum", "mean"]
Smoothing = Literal["ema", "mean", "latest"]


def joint_error(
    of_class: np.ndarray, slot_sum: np.ndarray, slot_fro: np.ndarray, slots: np.ndarray, joint: Joint = "norm"
) -> np.ndarray:
    """(n,) float64, one error from an utterance's class and slots (trainer/callbacks.py, compute_el2n).

    of_class: (n,) the EL2N of the class. slot_sum, slot_fro: (n,) the sum of the slots' EL2N, and the root of the sum
    of their squares. slots: (n,) the number of slots.

    joint: "norm" is the length of all errors together, which grows with the number of slots; "sum" is the class's plus
    the slots' sum; "mean" is half the class's plus half the slots' mean. An utterance without slots has 0 for them.

    >>> joint_error(np.array([0.5]), np.array([1.5]), np.array([1.2]), np.array([2]), "norm")
    array([1.3])
    """
    of_class, slot_sum, slot_fro = (np.asarray(each, np.float64) for each in (of_class, slot_sum, slot_fro))
    if joint == "norm":
        return np.hypot(of_class, slot_fro)
    if joint == "sum":
        return of_class + slot_sum
    return (of_class + slot_sum / np.maximum(slots, 1)) / 2


def smoothed(
    *cycles: np.ndarray, smoothing: Smoothing = "ema", alpha: float = 0.8, last: int = 1, bonus: float = 0.0
) -> np.ndarray:
    """(n,) float64, one smoothed score from those of all cycles so far (trainer/prune_utils.py, fetch_ema).

    cycles: (n,) scores each, the earliest cycle first. smoothing: "ema" is alpha times a cycle's score plus 1 - alpha
    times the average before it, which begins with the first cycle's score. From the second cycle on, `bonus` times the
    standard deviation is added to it, with the same weights and corrected for bias; with an alpha of 1 only the last
    score counts, which has none. "mean" is the mean over the last `last` cycles, "latest" the score of the last one.
    NaN where a cycle has a NaN. ValueError for no cycle.

    >>> smoothed(np.array([0.9]), np.array([0.3]), np.array([0.6]))
    array([0.564])
    """
    if not cycles:
        raise ValueError("one cycle or more wanted")
    history = np.stack([np.asarray(cycle, np.float64) for cycle in cycles])
    whole = np.where(np.isnan(history).any(axis=0), np.nan, 0.0)
    if smoothing == "latest":
        return history[-1] + whole
    if smoothing == "mean":
        return history[-last:].mean(axis=0) + whole
    weights = alpha * (1 - alpha) ** np.arange(len(history))[::-1]
    weights[0] = (1 - alpha) ** (len(history) - 1)  # nothing came before the first
    mean = weights @ history
    if len(history) == 1 or not bonus or alpha == 1:
        return mean + whole
    biased = weights @ np.square(history - mean)
    return mean + bonus * np.sqrt(biased / (1 - weights @ weights)) + whole


def diet_scores(
    *columns: np.ndarray,
    joint: Joint = "norm",
    smoothing: Smoothing = "ema",
    alpha: float = 0.8,
    last: int = 1,
    bonus: float = 0.0,
) -> np.ndarray:
    """(n,) float64, the smoothed joint errors; columns: the four of `joint_error`, for each cycle in turn."""
    errors = [joint_error(*columns[at : at + 4], joint=joint) for at in range(0, len(columns), 4)]
    return smoothed(*errors, smoothing=smoothing, alpha=alpha, last=last, bonus=bonus)


def hardest(scores: np.ndarray, count: int, *, offset: int = 0) -> Positions:
    """Positions of the `count` highest scores after the first `offset`, the highest first; ties in ascending position.

    A NaN is not a score and is never among them. Fewer positions are returned where fewer samples have a score.
    """
    scored = int(np.isfinite(scores).sum())
    return ranked(scores)[:scored][offset : offset + count]


def between_quantiles(scores: np.ndarray, share: float, *, offset: float = 0.0) -> Positions:
    """Positions of the scores between two quantiles, bounds included, the highest first, as the released code does.

    The bounds are the quantiles 1 - offset and 1 - offset - share, by linear interpolation. Where scores tie, more than
    the share are returned. ValueError where a quantile is not between 0 and 1.

    >>> between_quantiles(np.array([0.564, 0.152, 0.5, 0.1]), 0.5)
    array([0, 2])
    """
    if not 0 <= offset <= offset + share <= 1:
        raise ValueError(f"a share of {share} after the first {offset} does not lie within the scores")
    known = scores[np.isfinite(scores)]
    if not len(known):
        return np.empty(0, np.int64)
    low, high = np.quantile(known, [max(0.0, 1 - offset - share), 1 - offset])
    order = ranked(scores)
    return order[(scores[order] >= low) & (scores[order] <= high)]


def cycles(epochs: int, full: int, every: int) -> list[int]:
    """The number of epochs of each training: first on all samples, then on samples that are chosen anew each time.

    The `full` epochs on all samples come first. Then come as many trainings of `every` epochs as fit, and one of the
    remaining epochs. With no full epochs the first choice is made without scores. ValueError where nothing would be
    trained, and where full is more than epochs.

    >>> cycles(10, 2, 3)
    [2, 3, 3, 2]
    """
    if not 0 <= full <= epochs or epochs < 1 or every < 1:
        raise ValueError(f"of {epochs} epochs {full} are on all samples, then choices every {every}: that cannot be")
    rest = epochs - full
    left = [rest % every] if rest % every else []
    return [*([full] if full else []), *[every] * (rest // every), *left]
