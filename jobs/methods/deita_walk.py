"""Repr Filter down a ranking, which embeds only as many samples as it needs (DEITA, Liu et al. 2024, Algorithm 1).

The samples are embedded from the best rank down: twice the budget at first, then twice as many each time, until enough
are kept. The selection is the same as if all samples were embedded.
"""

import numpy as np

from jobs.engine.pool.subset import Ranking, Subset
from jobs.engine.terminal.errors import NothingSelected
from operators.embedding.embed import Embed
from operators.kernels.repr_filter import Filtered, repr_filter

LOOKED_AT_FIRST = 2  # budgets
CALIBRATED_ON = 20_000  # ranks
BISECTIONS = 16
TOLERANCE = 0.005


class Walk:
    """The state of a walk: the samples of a ranking that are embedded so far, and the ones of them that are kept."""

    def __init__(self, ranking: Ranking, embed: Embed, threshold: float):
        self.ranking, self.embed, self.threshold = ranking, embed, threshold
        self.asked = 0
        """The number of ranks for which an embedding was requested."""
        self.usable = ranking[:0]
        """The samples with an embedding, best first."""
        self.found: Filtered | None = None

    def kept(self, size: int) -> Ranking:
        """The first `size` samples to keep, best first, or fewer where the ranking ends."""
        self._embed(LOOKED_AT_FIRST * size)
        while True:
            found: Filtered = self.usable.reduce(
                repr_filter, "embed", size=size, threshold=self.threshold, earlier=self.found
            )
            self.found = found
            if len(found.kept) == size or self.asked == len(self.ranking):
                return self.usable.ranking(self.usable.order[found.kept])
            self._embed(2 * self.asked)

    def calibrate(self, share: float) -> None:
        """Sets the threshold that keeps this share of the first CALIBRATED_ON ranks."""
        self._embed(CALIBRATED_ON)
        self.threshold = self.usable.reduce(accepting_threshold, "embed", share=share)

    def down_to(self, size: int) -> tuple[Ranking, Subset]:
        """The samples that were compared to find the first `size` kept ones, and the blocked samples of them.

        The blocked samples have the columns `blocker`, the id of the kept sample that each is too similar to, and
        `similarity`.
        """
        assert self.found is not None
        kept, blocker = self.found.kept, self.found.blocker
        looked = self.found.looked if size == len(kept) else int(kept[size - 1]) + 1
        rows = np.flatnonzero(blocker[:looked] >= 0)
        blocked = self.usable.ranking(self.usable.order[rows])
        blockers = self.usable.order[blocker[rows]]
        return self.usable[:looked], blocked.bind(blocker=blockers, similarity=self.found.similarity[rows])

    def _embed(self, ranks: int) -> None:
        """Embeds the first `ranks` ranks, each only once; NothingSelected where no sample has an embedding."""
        following = self.ranking[self.asked : ranks]
        self.usable += following.map(embed=self.embed)
        self.asked += len(following)
        if not len(self.usable):
            raise NothingSelected("no sample has both scores and an embedding")


def accepting_threshold(embeddings: np.ndarray, share: float, device: str = "cpu") -> float:
    """The threshold with which Repr Filter keeps this share of the rows; embeddings: (n, d), best first.

    It is found by bisection, because the share grows with the threshold, except for a few rows. The search stops within
    TOLERANCE of the share, or after BISECTIONS steps.
    """
    low, high, middle = -1.0, 1.0, 0.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        accepted = len(repr_filter(embeddings, None, middle, device=device).kept) / len(embeddings)
        if abs(accepted - share) <= TOLERANCE:
            break
        low, high = (middle, high) if accepted < share else (low, middle)
    return middle
