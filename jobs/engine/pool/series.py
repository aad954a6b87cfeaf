"""One value for each of some samples of a pool, and seen as one for each sample of the pool."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from jobs.engine.pool.held import BLOCK, Held, Run, between
from jobs.engine.pool.ids import Compact, compact, held_by


@dataclass(frozen=True, eq=False)
class Series:
    """Some samples, and one value per sample."""

    ids: Compact = compact()  # noqa: RUF009 - a descriptor, which keeps the ids of each instance apart
    """(m,) int64, ascending."""
    values: np.ndarray = field(default_factory=lambda: np.empty(0))
    """One for each of `places`; (m, ...) where these are the samples themselves."""
    over: Held | None = None
    """More samples than those of `ids`, among which are these, in the order of the values."""

    @property
    def places(self) -> Held:
        """The samples in the order of the values."""
        return held_by(self) if self.over is None else self.over

    def as_floats(self) -> "Series":
        """The same with values of float32 or float64; others become float64."""
        if self.values.dtype in (np.float32, np.float64):
            return self
        return replace(self, ids=held_by(self), values=self.values.astype(np.float64))


@dataclass(frozen=True, eq=False)
class PerSample:
    """The values of a series for all samples of a pool, as an array is read; nothing is held for those without one."""

    samples: int
    series: Series
    unknown: float
    """What stands for the value of a sample without one."""

    @property
    def dtype(self) -> np.dtype:
        """The type of the values."""
        return self.series.values.dtype

    def __len__(self) -> int:
        return self.samples

    def __getitem__(self, some: Any) -> Any:
        """The values at an id, at ids, or in a slice of them."""
        if isinstance(some, slice):
            return self._of(np.arange(*some.indices(self.samples)))
        ids = np.asarray(some)
        if ids.dtype == bool:
            ids = np.flatnonzero(ids)
        return self._of(ids) if ids.ndim else self._of(ids[None])[0]

    def between(self, start: int, stop: int) -> "PerSample":
        """The values of the samples from `start` to before `stop`, whose ids are less by `start` then."""
        places, ids = self.series.places, between(held_by(self.series), start, stop)
        values = self.series.values[places.below(start) : places.below(stop)]
        over = None if self.series.over is None else between(places, start, stop)
        return PerSample(stop - start, Series(ids, values, over), self.unknown)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)

    def _of(self, ids: np.ndarray) -> np.ndarray:
        found = np.full(len(ids), self.unknown, self.dtype)
        for start in range(0, len(ids), BLOCK):
            block = ids[start : start + BLOCK]
            known = held_by(self.series).find(block)[1]
            at = np.flatnonzero(known)
            found[start + at] = self.series.values[self.series.places.find(block[at])[0]]
        return found


Values = np.ndarray | PerSample
"""A value per sample of a pool."""


def part(values: Values, start: int, stop: int) -> Values:
    """The values of the samples from `start` to before `stop`; nothing is copied."""
    return values.between(start, stop) if isinstance(values, PerSample) else values[start:stop]


def spread(samples: int, series: Series) -> Values:
    """The values for all samples of a pool, -1 (integers) or NaN (floats) where there is none; (samples,).

    They have the smallest type of at least 32 bits for floats, or 8 for integers, that holds every value exactly. Where
    they are in that type already they are not copied.
    """
    values, unknown = series.values, np.nan
    if values.dtype.kind in "iu":
        values, unknown = values.astype(smallest(*_ends(values)), copy=False), -1
    else:
        values = narrow(values)
    if series.places == Run(0, samples) and (series.over is None or _finite(values) == len(held_by(series))):
        return values
    return PerSample(samples, replace(series, ids=held_by(series), values=values), unknown)


def smallest(lowest: int, highest: int) -> np.dtype:
    """The smallest type of signed integers that holds these two."""
    kinds = (np.dtype(kind) for kind in (np.int8, np.int16, np.int32, np.int64))
    return next(kind for kind in kinds if np.iinfo(kind).min <= lowest and highest <= np.iinfo(kind).max)


def _ends(values: np.ndarray) -> tuple[int, int]:
    """The lowest and the highest integer, and -1 and 0 with them."""
    return int(values.min(initial=-1)), int(values.max(initial=0))


def _finite(values: np.ndarray) -> int:
    """The number of floats that are neither NaN nor infinite; -1 for other values."""
    if values.dtype.kind != "f":
        return -1
    return sum(int(np.count_nonzero(np.isfinite(values[at : at + BLOCK]))) for at in range(0, len(values), BLOCK))


def narrow(values: np.ndarray) -> np.ndarray:
    """The values in float32 where that holds every one of them exactly, else in float64."""
    return values.astype(_exact(values), copy=False)


def _exact(values: np.ndarray) -> np.dtype:
    """float32 where that holds every value exactly, else float64."""
    for start in range(0, len(values), BLOCK):
        block = values[start : start + BLOCK]
        with np.errstate(over="ignore"):
            narrow = block.astype(np.float32)
        if not np.array_equal(narrow, block, equal_nan=True):
            return np.dtype(np.float64)
    return np.dtype(np.float32)
