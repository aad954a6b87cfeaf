"""Near-duplicates among the kept samples: pairs whose vectors are almost the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from jobs.engine.outcome.outcome import Outcome
from jobs.engine.report.excerpts import Excerpt, decided_samples
from jobs.engine.report.layout import nearest_others
from jobs.engine.report.vectors import Vectors

COMPARED = 10_000
ALIKE = 0.95
"""The cosine similarity from which two samples are called near-duplicates."""
PAIRS_SHOWN = 5


class Close(NamedTuple):
    """The near-duplicates among the kept samples, by id; where there are none, the most similar pair."""

    compared: int
    alike: int
    """The samples whose nearest other kept sample has a similarity of at least ALIKE."""
    pairs: Sequence[tuple[int, int]]
    similarities: Sequence[float]


@dataclass(frozen=True)
class Pair:
    """Two kept samples that are alike."""

    similarity: float
    both: tuple[Excerpt, Excerpt]


def close(vectors: Vectors, samples: int, kept: np.ndarray) -> Close:
    """Compares the best COMPARED kept samples. samples: of the pool. kept: ids, best first. It is for a task."""
    ids = kept[vectors.having(samples)[kept]][:COMPARED]
    if len(ids) < 2:
        return Close(len(ids), 0, [], [])
    unit = vectors.unit(ids)
    other, distance = nearest_others(unit, 1)
    similarity = 1 - distance[:, 0].astype(np.float64) ** 2 / 2
    ends = np.sort(np.column_stack([np.arange(len(ids)), other]), axis=1)
    ends, first = np.unique(ends, axis=0, return_index=True)
    best = np.lexsort((ends[:, 1], ends[:, 0], -similarity[first]))[:PAIRS_SHOWN]
    chosen = similarity[first][best]
    shown = max(int((chosen >= ALIKE).sum()), 1)
    best, chosen = best[:shown], chosen[:shown]
    pairs = [(int(ids[one]), int(ids[two])) for one, two in ends[best]]
    return Close(len(ids), int((similarity >= ALIKE).sum()), pairs, chosen.tolist())


def pairs(outcome: Outcome, found: Close) -> list[Pair]:
    """The samples of the most similar pairs, with what was decided about them."""
    ids = np.unique(np.array([*found.pairs], np.int64).reshape(-1))
    samples = dict(zip(ids.tolist(), decided_samples(outcome, ids), strict=True))
    return [
        Pair(similarity, (samples[one], samples[two]))
        for (one, two), similarity in zip(found.pairs, found.similarities, strict=True)
    ]
