"""Random choices that follow from a seed."""

import numpy as np

from operators.kernels.rows import Positions


def random_order(n: int, seed: int) -> np.ndarray:
    """A random permutation of 0 … n - 1 that follows from the seed; (n,) int64."""
    return np.random.default_rng(seed).permutation(n)


def stratified_sample(labels: np.ndarray, size: int, seed: int) -> Positions:
    """Positions of a random sample of so many rows with each label's share of them all; (size,) ascending.

    A label with n rows of N gives its share size * n / N rounded down, and the rows still wanted go one each
    to the labels with the largest remainders (Hamilton's method; ties to the label that sorts first).
    """
    if not 0 <= size <= len(labels):
        raise ValueError(f"cannot take {size} of {len(labels)} rows")
    names, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    whole, remainder = np.divmod(size * counts, max(len(labels), 1))
    extra = np.argsort(-remainder, kind="stable")[: size - int(whole.sum())]
    whole[extra] += 1
    random = np.random.default_rng(seed)
    # Rows in a random order, then by label: the first of each label are its sample.
    order = random.permutation(len(labels))
    order = order[np.argsort(codes[order], kind="stable")]
    starts = np.cumsum(counts) - counts
    chosen = [order[start : start + count] for start, count in zip(starts, whole, strict=True)]
    return np.sort(np.concatenate(chosen)) if len(names) else np.empty(0, int)
