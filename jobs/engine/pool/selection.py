"""The selection: the kept ids, best first, and for every sample of the pool a score, a reason and details."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jobs.engine.pool.column import Series
from jobs.engine.store.feature import Feature


@dataclass(frozen=True)
class Selection:
    """The decisions of a recipe about a pool of n samples."""

    ids: np.ndarray
    """The kept ids, best first; (kept,) int64."""
    score: np.ndarray
    """The score of each sample, higher is better, NaN where a sample was not scored; (n,) float64."""
    reason: np.ndarray
    """The position in `reasons` for each sample; (n,) int32."""
    reasons: tuple[str, ...]
    """The reasons why samples were kept or dropped; the first one is that a sample was not scored."""
    folder: str
    """The folder of the pool that the selection is from: a recipe may have grown the pool of the inputs."""
    details: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Additional values per sample, such as its centroid; (n,) int64 or float64 each, -1 or NaN where unknown."""
    features: Mapping[str, Feature] = field(default_factory=dict)
    """The stored columns that the selection is based on, by name."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Facts for the manifest, such as a threshold or a histogram; plain values by name."""
    vector: str | None = None
    """The column of embeddings in which `explain` finds the nearest samples; None: there is none."""


def spread(samples: int, column: Series) -> np.ndarray:
    """An array of all samples with the values at their ids and -1 (int64) or NaN (float64) elsewhere; (samples,)."""
    ids, values = column.ids, np.asarray(column.values)
    full = np.full(samples, -1, np.int64) if values.dtype.kind in "iu" else np.full(samples, np.nan)
    full[ids] = values
    return full
