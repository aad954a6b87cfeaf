"""A pool as a classification data set: its labelled samples, and how often classifiers forgot them in training."""

from collections.abc import Iterable, Sequence

import numpy as np

from jobs.engine.pool.pool import Pool
from jobs.engine.pool.subset import Subset
from jobs.engine.train.label_names import with_names
from operators.checkpoint import Checkpoint
from operators.field import Field
from operators.kernels.data_diet import forgettings
from operators.kernels.words import different, numbered
from operators.supervision.labels import Labels
from operators.training.files import epoch_outcomes


def classified(pool: Pool, labels: Labels) -> tuple[Subset, Labels]:
    """The samples whose class is among the labels, with the column `label`, and the labels with their names.

    A sample without a class is left out and is not an error. UsageError as for `with_names`.
    """
    named = with_names(pool.origin, labels)
    labelled = pool.map(label=Field(labels.label))
    return labelled[labelled.reduce(numbered, "label", names=named.classes) >= 0], named


def kept_by_label(pool: Pool, label: Field | None, kept: Subset) -> dict[str, dict[str, int]]:
    """The number of kept samples per class, as a fact of the selection; empty without a label."""
    if label is None:
        return {}
    labelled = pool.map(label=label)
    names = labelled.reduce(different, "label")
    of = labelled.reduce(numbered, "label", names=names)
    counts = np.bincount(of[labelled.among(kept)], minlength=len(names))
    return {"kept per label": dict(zip(names, counts.tolist(), strict=True))}


def forgotten(runs: Iterable[Sequence[Checkpoint]], ids: np.ndarray) -> list[np.ndarray]:
    """The number of times that each run forgot each sample: it was correct in an epoch and incorrect in the next.

    runs: all epochs of each run, two or more. Returns one (ids,) float64 array per run. A sample that was never
    predicted correctly gets the number of epochs, which is more than any other sample can have; the infinity of
    `kernels.data_diet.forgettings` would have no mean. A sample that the run was not trained on gets NaN.
    """
    return [_forgotten(epochs, ids) for epochs in runs]


def _forgotten(epochs: Sequence[Checkpoint], ids: np.ndarray) -> np.ndarray:
    seen, rights = zip(*map(epoch_outcomes, epochs), strict=True)
    counts = forgettings(np.stack(rights))  # every epoch sees every sample once, and the outcomes are in order of id
    finite = np.where(np.isinf(counts), len(epochs), counts)
    if not len(finite):
        return np.full(len(ids), np.nan)
    places = np.minimum(np.searchsorted(seen[0], ids), len(finite) - 1)
    return np.where(seen[0][places] == ids, finite[places], np.nan)
