"""The selection: ids, best first, and for every sample of the pool a score, a reason and the recipe's details."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from jobs.engine.store import Feature

Column = tuple[np.ndarray, np.ndarray]
"""Ids and, aligned with them, values."""


@dataclass(frozen=True)
class Selection:
    """What a recipe decided about a pool of n samples."""

    ids: np.ndarray
    """The ids kept, best first; (kept,) int64."""
    score: np.ndarray
    """What samples were ranked by, higher is better, NaN where a sample was not scored; (n,) float64."""
    reason: np.ndarray
    """For every sample a position in `reasons`; (n,) int."""
    reasons: tuple[str, ...]
    """Why samples were kept or dropped."""
    details: Mapping[str, np.ndarray] = field(default_factory=dict)
    """More of what the recipe knows of each sample (centroid, distance); (n,) each, -1 or NaN where unknown."""
    features: Mapping[str, Feature] = field(default_factory=dict)
    """The columns it was decided from."""
    vector: str | None = None
    """The column in which nearest samples are looked for when a decision is explained."""


def spread(samples: int, column: Column) -> np.ndarray:
    """The column's values at their ids in an array of all samples, -1 (whole numbers) or NaN elsewhere."""
    ids, values = column[0], np.asarray(column[1])
    full = np.full(samples, -1, np.int64) if values.dtype.kind in "iu" else np.full(samples, np.nan)
    full[ids] = values
    return full
