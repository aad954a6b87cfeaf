"""Random choices that a seed decides."""

import numpy as np

from operators.kernels.rows import Positions


def random_order(n: int, seed: int) -> np.ndarray:
    """(n,) int64 random permutation of 0 … n - 1, which depends only on n and the seed."""
    return np.random.default_rng(seed).permutation(n)


def stratified_sample(labels: np.ndarray, size: int, seed: int) -> Positions:
    """(size,) positions, ascending, of a random sample in which each label has its share of all rows.

    A label with n of N rows gives size * n / N rows, rounded down. The rows still wanted come one each from the labels
    with the largest remainders (Hamilton's method); ties go to the label that sorts first. ValueError for a size that
    is negative or larger than the number of rows.
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


def balanced_order(labels: np.ndarray, seed: int) -> Positions:
    """(n,) int64 positions in a random order in which the labels take turns, as long as each has rows.

    The first rows therefore hold as many of one label as of another, or all of a label that has fewer. Within a turn
    the labels are in a random order.

    >>> labels = np.array(["a", "a", "a", "b"])
    >>> sorted(labels[balanced_order(labels, 0)[:2]].tolist())
    ['a', 'b']
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    codes = np.unique(np.asarray(labels)[order], return_inverse=True)[1]
    grouped = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[grouped], prepend=-1))
    turns = np.empty(len(labels), np.int64)
    turns[grouped] = np.arange(len(labels)) - np.repeat(starts, np.diff(np.append(starts, len(labels))))
    return order[np.argsort(turns, kind="stable")]
