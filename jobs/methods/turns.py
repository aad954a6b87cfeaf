"""RDS+'s choice: the subtasks of the targets choose samples in turn (Ivison et al. 2025, arXiv 2503.01807)."""

import numpy as np

from jobs.engine.pool.subset import Ranking, Subset
from operators.kernels.round_robin import Chosen, chosen_in_turn


class Turns:
    """The choices of the subtasks among some samples, by a column of vectors."""

    def __init__(self, samples: Subset, column: str, targets: np.ndarray, subtasks: np.ndarray):
        self.samples, self.column = samples, column
        self.compared = {"targets": targets, "subtasks": subtasks}
        self.found: Chosen | None = None

    def first(self, count: int) -> Ranking:
        """The first samples that are chosen, in their order; fewer where there are fewer."""
        self.found = self.samples.reduce(chosen_in_turn, self.column, count=count, **self.compared)
        return self.found.positions  # type: ignore[return-value] - the engine makes samples of positions

    def scored(self) -> Subset:
        """The samples with their highest similarity, `score`, and the subtask that it is to, `subtask`."""
        assert self.found is not None
        return self.samples.bind(score=self.found.scores, subtask=self.found.subtasks)
