"""A pool as a classification set: which samples have a class, and what classifiers forgot of them in training."""

from collections.abc import Iterable, Sequence

import numpy as np

from jobs.engine.pool.pool import Pool
from jobs.engine.pool.subset import Subset
from jobs.engine.train.label_names import with_names
from operators.checkpoint import Checkpoint
from operators.field import Field
from operators.kernels.data_diet import counts_by_label, forgettings
from operators.supervision.labels import Labels
from operators.training.files import epoch_outcomes


def classified(pool: Pool, labels: Labels) -> tuple[Subset, Labels]:
    """The samples whose class is among the labels, with the column `label`, and the labels with their names.

    A sample without a class is no error: nobody has to have labelled all. UsageError as `with_names`.
    """
    named = with_names(pool.origin, labels)
    labelled = pool.map(label=Field(labels.label))
    known = set(named.classes)
    return labelled[np.array([name in known for name in labelled.values("label")], bool)], named


def kept_by_label(pool: Pool, label: Field | None, kept: Subset) -> dict[str, dict[str, int]]:
    """How many samples of each class are kept, as a fact of the selection; nothing without a label."""
    if label is None:
        return {}
    labelled = pool.map(label=label)
    return {"kept by label": counts_by_label(labelled.values("label"), np.isin(labelled.ids, kept.ids))}


def forgotten(runs: Iterable[Sequence[Checkpoint]], ids: np.ndarray) -> list[np.ndarray]:
    """For each run, the number of times that each of these samples was predicted correctly in an epoch and not in the
    next; (ids,) float64 each.

    runs: all epochs of each, two or more. A sample that was never predicted correctly has the number of epochs, which
    no other comes to: the infinity of `kernels.data_diet.forgettings` has no mean. NaN for one that was not trained on.
    """
    return [_forgotten(epochs, ids) for epochs in runs]


def _forgotten(epochs: Sequence[Checkpoint], ids: np.ndarray) -> np.ndarray:
    seen, rights = zip(*map(epoch_outcomes, epochs), strict=True)
    counts = forgettings(np.stack(rights))  # every epoch sees every sample once, and they are read in order of id
    finite = np.where(np.isinf(counts), len(epochs), counts)
    if not len(finite):
        return np.full(len(ids), np.nan)
    places = np.minimum(np.searchsorted(seen[0], ids), len(finite) - 1)
    return np.where(seen[0][places] == ids, finite[places], np.nan)
