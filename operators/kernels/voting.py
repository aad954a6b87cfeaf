"""Majority votes of labels within the centroids they fall to."""

from typing import Literal

import numpy as np

from operators.kernels.rows import Positions


def centroids_of(target: str, centroids: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The centroids of whose rows the target is the most frequent label, ascending; a tie is the target's.

    centroids, labels: (n,), the centroid and the label of each row.

    >>> centroids_of("NLI", np.array([0, 0, 0, 1, 1]), np.array(["NLI", "NLI", "QA", "QA", "NLI"]))
    array([0, 1])
    """
    won = []
    for centroid in np.unique(centroids):
        names, counts = np.unique(labels[centroids == centroid], return_counts=True)
        if target in names and counts[names == target][0] == counts.max():
            won.append(centroid)
    return np.array(won, int)


def rows_of(
    centroids: np.ndarray, labels: np.ndarray, target: str, by: Literal["centroid", "label"]
) -> tuple[Positions, Positions]:
    """Positions of the target's rows, and of those among them that bear its label; ascending.

    By centroid these are all rows of the centroids that it has the majority in; by label, and where it has none,
    the rows with its label.
    """
    labelled = np.flatnonzero(labels == target)
    inside = np.flatnonzero(np.isin(centroids, centroids_of(target, centroids, labels)))
    if by == "label" or not len(inside):
        return labelled, labelled
    return inside, np.intersect1d(labelled, inside)
