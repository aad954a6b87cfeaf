"""A pool as a classification set: which samples have a class, and what classifiers forgot of them in training."""

from collections.abc import Iterable, Sequence

import numpy as np

from jobs.engine.pool.pool import Pool
from jobs.engine.train.label_names import with_names
from operators.checkpoint import Checkpoint
from operators.field import Field
from operators.kernels.data_diet import forgettings
from operators.supervision.labels import Labels
from operators.training.files import epoch_outcomes


def classified(pool: Pool, labels: Labels) -> tuple[Pool, np.ndarray, Labels]:
    """The pool with the column `label`, the ids whose class is among the labels, and the labels with their names.

    A sample without a class is no error: nobody has to have labelled all. UsageError as `train.with_names`.
    """
    named = with_names(pool, labels)
    pool = pool.map(label=Field(labels.label))
    ids, known = pool.valid("label"), set(named.classes)
    return pool, ids[[name in known for name in pool.values("label", ids)]], named


def forgotten(runs: Iterable[Sequence[Checkpoint]], samples: int) -> np.ndarray:
    """(runs, samples) float64 times that a sample was told right in an epoch and wrong in the next.

    runs: all epochs of each, two or more. A sample that was never right has the number of epochs, which no other comes
    to: the infinity of `kernels.data_diet.forgettings` has no mean. NaN for one that was not trained on.
    """
    return np.stack([_forgotten(epochs, samples) for epochs in runs])


def _forgotten(epochs: Sequence[Checkpoint], samples: int) -> np.ndarray:
    ids, rights = zip(*map(epoch_outcomes, epochs), strict=True)
    counts = forgettings(np.stack(rights))  # every epoch sees every sample once, and they are read in order of id
    scores = np.full(samples, np.nan)
    scores[ids[0]] = np.where(np.isinf(counts), len(epochs), counts)
    return scores
