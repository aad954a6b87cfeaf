"""The selection: the kept ids, best first, and for every sample of the pool a score, a reason and details."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jobs.engine.pool.column import Series
from jobs.engine.store.feature import Feature

BLOCK = 1 << 16
"""Values that are compared with their copies in float32 at a time."""


@dataclass(frozen=True)
class Selection:
    """The decisions of a recipe about a pool of n samples."""

    ids: np.ndarray
    """The kept ids, best first; (kept,) int64."""
    score: np.ndarray
    """The score of each sample, higher is better, NaN where a sample was not scored; (n,) float32, or float64 where
    a score has more digits."""
    reason: np.ndarray
    """The position in `reasons` for each sample; (n,) int8, or int16 for many reasons."""
    reasons: tuple[str, ...]
    """The reasons why samples were kept or dropped; the first one is that a sample was not scored."""
    folder: str
    """The folder of the pool that the selection is from: a recipe may have grown the pool of the inputs."""
    details: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Additional values per sample, such as its centroid; (n,) integers or floats each, -1 or NaN where
    unknown."""
    features: Mapping[str, Feature] = field(default_factory=dict)
    """The stored columns that the selection is based on, by name."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Facts for the manifest, such as a threshold or a histogram; plain values by name."""
    vector: str | None = None
    """The column of embeddings in which `explain` finds the nearest samples; None: there is none."""


def spread(samples: int, column: Series) -> np.ndarray:
    """An array of all samples with the values at their ids and -1 (integers) or NaN (floats) elsewhere; (samples,).

    It has the smallest type of at least 32 bits for floats, or 8 for integers, that holds every value exactly. Where
    every sample has a value, and already in that type, these values are the array, and not a copy of them.
    """
    values = np.asarray(column.values)
    if values.dtype.kind in "iu":
        kind, unknown = smallest(int(values.min(initial=-1)), int(values.max(initial=0))), -1
    else:
        kind, unknown = _exact(values), np.nan
    if len(values) == samples:
        return values.astype(kind, copy=False)
    full = np.full(samples, unknown, kind)
    full[column.ids] = values
    return full


def floats(values: np.ndarray) -> np.ndarray:
    """The values as floats: float32 and float64 as they are, others as float64."""
    return values if values.dtype in (np.float32, np.float64) else values.astype(np.float64)


def smallest(lowest: int, highest: int) -> np.dtype:
    """The smallest type of signed integers that holds these two."""
    kinds = (np.dtype(kind) for kind in (np.int8, np.int16, np.int32, np.int64))
    return next(kind for kind in kinds if np.iinfo(kind).min <= lowest and highest <= np.iinfo(kind).max)


def _exact(values: np.ndarray) -> np.dtype:
    """float32 where that holds every value exactly, else float64."""
    for start in range(0, len(values), BLOCK):
        block = values[start : start + BLOCK]
        with np.errstate(over="ignore"):
            narrow = block.astype(np.float32)
        if not np.array_equal(narrow, block, equal_nan=True):
            return np.dtype(np.float64)
    return np.dtype(np.float32)
