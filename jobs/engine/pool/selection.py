"""The selection: ids, best first, and for every sample of the pool a score, a reason and the recipe's details."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jobs.engine.pool.column import Values
from jobs.engine.store.feature import Feature


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
    folder: str
    """The folder of the pool that it is about: a recipe may have grown the one that it was given."""
    details: Mapping[str, np.ndarray] = field(default_factory=dict)
    """More of what the recipe knows of each sample (centroid, distance); (n,) each, -1 or NaN where unknown."""
    features: Mapping[str, Feature] = field(default_factory=dict)
    """The columns it was decided from."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What the recipe found on the way (a threshold, a histogram), for the manifest; plain values."""
    vector: str | None = None
    """The column in which nearest samples are looked for when a decision is explained."""


def spread(samples: int, column: Values) -> np.ndarray:
    """The values at their ids in an array of all samples, -1 (whole numbers) or NaN elsewhere."""
    ids, values = column.ids, np.asarray(column.values)
    full = np.full(samples, -1, np.int64) if values.dtype.kind in "iu" else np.full(samples, np.nan)
    full[ids] = values
    return full
