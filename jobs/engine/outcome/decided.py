"""What was decided about the samples in some parts of a pool: the slice of a selection that a task needs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from jobs.engine.pool.selection import Selection
from jobs.engine.pool.series import Values, part
from jobs.engine.samples.reading import Parts

SAMPLES = 262_144
"""The number of samples that a task writes about."""


@dataclass(frozen=True)
class Decided:
    """The decisions about the n samples in some parts."""

    parts: Parts
    kept: np.ndarray
    """The kept ids, ascending; (kept,) int64."""
    rank: np.ndarray
    """The rank of each kept sample in the whole selection, from 1; (kept,) int64."""
    score: Values
    """As in the selection; (n,)."""
    reason: np.ndarray
    """As in the selection; (n,)."""
    reasons: tuple[str, ...]
    details: Mapping[str, Values]
    """As in the selection; (n,) each."""


def decided(parts: Parts, chosen: Selection) -> Iterator[Decided]:
    """The decisions in slices of SAMPLES or a few more, by id. Parts are not divided."""
    order = np.argsort(chosen.ids)
    kept = chosen.ids[order]
    for some, those in sliced(parts, kept):
        here = some.ids().start, some.ids().stop
        yield Decided(
            some,
            kept[those],
            order[those] + 1,
            part(chosen.score, *here),
            chosen.reason[slice(*here)],
            chosen.reasons,
            {name: part(values, *here) for name, values in chosen.details.items()},
        )


def sliced(parts: Parts, ids: np.ndarray) -> Iterator[tuple[Parts, slice]]:
    """The parts in groups of SAMPLES or a few more, each with the place of their samples in `ids`, which ascend."""
    for some in parts.ranges(SAMPLES):
        yield some, slice(*np.searchsorted(ids, [some.ids().start, some.ids().stop]))
