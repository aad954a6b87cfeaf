"""What a method that grows its pool has made of it: new samples beside the samples that they were rewritten from."""

from dataclasses import dataclass

import numpy as np

from jobs.engine.outcome.outcome import Outcome
from jobs.engine.report.excerpts import Excerpt, decided_samples

FAMILIES_SHOWN = 5


@dataclass(frozen=True)
class Families:
    """The new samples among the kept."""

    added: int
    """The number of new samples in the pool."""
    kept: int
    """The number of new samples among the kept."""
    both: list[tuple[Excerpt, Excerpt]]
    """Some parents, each with its child: the best of the kept, or where none is kept the first of the pool."""


def families(outcome: Outcome) -> Families | None:
    """The new samples of a grown pool; None where the pool was not grown."""
    if not outcome.pool.facts.get("rounds"):
        return None
    parent = outcome.pool.lineage().parent
    added = np.flatnonzero(parent >= 0)
    kept = outcome.selection.ids[parent[outcome.selection.ids] >= 0]
    children = (kept if len(kept) else added)[:FAMILIES_SHOWN]
    parents = decided_samples(outcome, parent[children])
    return Families(len(added), len(kept), [*zip(parents, decided_samples(outcome, children), strict=True)])
