"""The evol score: the complexity of a sample's instructions times the quality of its responses, over its turns.

DEITA ranks by it (Liu et al. 2024, arXiv 2312.15685, section 2.4). The paper's sum favours long conversations; mean,
max and last do not.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from operators.kernels.sharding import by_row

Aggregate = Literal["sum", "mean", "max", "last"]

AGGREGATES: dict[str, Callable[[np.ndarray], float]] = {
    "sum": np.sum,
    "mean": np.mean,
    "max": np.max,
    "last": lambda products: products[-1],
}


@by_row
def evol_score(
    complexity: Sequence[Sequence[float]],
    quality: Sequence[Sequence[float]],
    aggregate: Aggregate = "sum",
    *,
    offset: int = 0,
) -> np.ndarray:
    """(n,) float64 evol scores: per row, the turns' products of complexity and quality, aggregated.

    complexity, quality: n rows, each with the scores of a sample's turns, in order; rows may differ in length. A NaN
    among them makes the score NaN. offset: the position of the first row. ValueError, with the row, where the two have
    different numbers of turns, or none.

    >>> evol_score([[2, 3, 4], [5]], [[4, 5, 1], [3]])
    array([27., 15.])
    """
    if len(complexity) != len(quality):
        raise ValueError(f"complexity has {len(complexity)} rows and quality {len(quality)}")
    aggregated = AGGREGATES[aggregate]
    scores = np.empty(len(complexity))
    for row, (complex_turns, good_turns) in enumerate(zip(complexity, quality, strict=True)):
        if len(complex_turns) != len(good_turns) or not len(complex_turns):
            turns = f"{len(complex_turns)} turns scored for complexity and {len(good_turns)} for quality"
            raise ValueError(f"row {offset + row} has {turns}")
        scores[row] = aggregated(np.asarray(complex_turns, np.float64) * np.asarray(good_turns, np.float64))
    return scores
