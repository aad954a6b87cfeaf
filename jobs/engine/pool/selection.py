"""The selection: the kept ids, best first, and for every sample of the pool a score, a reason and details."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jobs.engine.pool.series import Values
from jobs.engine.store.feature import Feature


@dataclass(frozen=True)
class Selection:
    """The decisions of a recipe about a pool of n samples."""

    ids: np.ndarray
    """The kept ids, best first; (kept,) int64."""
    score: Values
    """The score of each sample, higher is better, NaN where a sample was not scored; (n,) float32, or float64 where
    a score has more digits."""
    reason: np.ndarray
    """The position in `reasons` for each sample; (n,) int8, or int16 for many reasons."""
    reasons: tuple[str, ...]
    """The reasons why samples were kept or dropped; the first one is that a sample was not scored."""
    folder: str
    """The folder of the pool that the selection is from: a recipe may have grown the pool of the inputs."""
    details: Mapping[str, Values] = field(default_factory=dict)
    """Additional values per sample, such as its centroid; (n,) integers or floats each, -1 or NaN where
    unknown."""
    features: Mapping[str, Feature] = field(default_factory=dict)
    """The stored columns that the selection is based on, by name."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Facts for the manifest, such as a threshold or a histogram; plain values by name."""
    vector: str | None = None
    """The column of embeddings in which `explain` finds the nearest samples; None: there is none."""
