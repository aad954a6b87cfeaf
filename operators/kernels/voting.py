"""Majority votes of labels within the centroids they fall to."""

import numpy as np


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
