"""Majority votes of labels among the rows of each centroid."""

from typing import Literal

import numpy as np

from operators.kernels.rows import Positions


def centroids_of(target: str, centroids: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The centroids, ascending, among whose rows the target is the most frequent label; the target wins ties.

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
    """The positions of the target's rows, and of those among them with its label; both ascending.

    by: "centroid" returns all rows of the centroids in which the target has the majority. "label", and the case that it
    has no majority, return the rows with its label.
    """
    labelled = np.flatnonzero(labels == target)
    inside = np.flatnonzero(np.isin(centroids, centroids_of(target, centroids, labels)))
    if by == "label" or not len(inside):
        return labelled, labelled
    return inside, np.intersect1d(labelled, inside)
