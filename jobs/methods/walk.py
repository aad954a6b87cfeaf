"""The walk down a ranking that keeps what is unlike all that is kept before it, and embeds no more than it looks at.

Samples are embedded from the best rank down, twice the budget at first and then twice as many again, until enough are
kept. The selection is the same as if all were embedded.
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
    """What of a ranking is embedded so far, and what of that is kept."""

    def __init__(self, ranking: Ranking, embed: Embed, threshold: float):
        self.ranking, self.embed, self.threshold = ranking, embed, threshold
        self.asked = 0
        """For how many of the ranks an embedding has been computed or tried."""
        self.usable = ranking[:0]
        """Those that have one, best first."""
        self.found: Filtered | None = None

    def kept(self, size: int) -> Ranking:
        """The first `size` samples to keep, best first; fewer where the ranks end."""
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
        """Sets the threshold to the one that keeps this share of the first ranks."""
        self._embed(CALIBRATED_ON)
        self.threshold = self.usable.reduce(accepting_threshold, "embed", share=share)

    def down_to(self, size: int) -> tuple[Ranking, Subset]:
        """The samples looked at for the first `size` kept ones, and those of them that were blocked.

        The blocked have the columns `blocker`, the id of the kept sample that each is too similar to, and `similarity`.
        """
        assert self.found is not None
        kept, blocker = self.found.kept, self.found.blocker
        looked = self.found.looked if size == len(kept) else int(kept[size - 1]) + 1
        rows = np.flatnonzero(blocker[:looked] >= 0)
        blocked = self.usable.ranking(self.usable.order[rows])
        blockers = self.usable.order[blocker[rows]]
        return self.usable[:looked], blocked.bind(blocker=blockers, similarity=self.found.similarity[rows])

    def _embed(self, ranks: int) -> None:
        """Embeds so many ranks, each once; NothingSelected where none of them has a vector."""
        following = self.ranking[self.asked : ranks]
        self.usable += following.map(embed=self.embed)
        self.asked += len(following)
        if not len(self.usable):
            raise NothingSelected("no sample has both scores and an embedding")


def accepting_threshold(embeddings: np.ndarray, share: float, device: str = "cpu") -> float:
    """The threshold with which Repr Filter keeps this share of the rows, best first, to half a point if there is one.

    By bisection: the share grows with the threshold, but for a few rows.
    """
    low, high, middle = -1.0, 1.0, 0.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        accepted = len(repr_filter(embeddings, None, middle, device=device).kept) / len(embeddings)
        if abs(accepted - share) <= TOLERANCE:
            break
        low, high = (middle, high) if accepted < share else (low, middle)
    return middle
