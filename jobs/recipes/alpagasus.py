"""AlpaGasus: Training a Better Alpaca with Fewer Data (Chen et al. 2023, arXiv 2307.08701).

1. A strong language model rates every sample from 0 to 5 by a rubric.
2. The samples that are rated at least 4.5 are kept.

Before use: the threshold belongs to one judge. For another judge choose it anew, by the histogram of ratings in the
manifest or by `fraction`. Ratings are joined to samples by id; the released code joins by position, where one missing
row shifts the rest.
"""

from typing import ClassVar

from pydantic import Field as Limits
from pydantic.dataclasses import dataclass

from jobs.engine.recipe import Budget, Pool, Recipe, Selection
from jobs.methods.replies import counted, rated_by
from operators.asking.judge import Judge
from operators.base import STRICT
from operators.kernels.threshold import histogram


@dataclass(frozen=True, config=STRICT)
class AlpaGasus(Recipe):
    """Keep what a judge rates at least the threshold."""

    published: ClassVar = {
        "judge.model.name": "gpt-3.5-turbo-0301",
        "judge.form": "alpagasus",
        "judge.max_tokens": 256,
    }

    budget: Budget = "100%"
    """How many of the samples that pass are kept at most, the best rated first, ties by id. The paper keeps all."""
    judge: Judge = Judge()
    """The judge. Its prompt is ours, to the same rubric; `judge.dimension` is accuracy, helpfulness or a word of yours.
    A sample stands in blocks that it cannot close. `judge.form` reads the number on the first line: "4.5/5" counts, and
    what is ambiguous or off the scale does not. As published, the first line must be a number, and an infinite one
    passes; the model is gpt-3.5-turbo-0301, and explains itself in 256 tokens."""
    threshold: float = 4.5
    """The least rating that passes."""
    fraction: float | None = Limits(default=None, gt=0, le=1)
    """The share of the rated samples that shall pass: the threshold is then the rating whose share comes nearest."""
    max_unrated: float = Limits(default=0.2, ge=0, le=1)
    """The share of replies that may hold no rating before the run fails. Such samples are dropped and counted."""

    def select(self, pool: Pool) -> Selection:
        """Rate, and keep what reaches the threshold."""
        rated, unrated = rated_by(pool.map(judge=self.judge), self.judge, self.max_unrated)
        passed = rated.at_least("judge.score", self.threshold, share=self.fraction)
        kept = self.within(pool, passed.ranked("judge.score"))
        return pool.selection(
            kept,
            score="judge.score",
            because={
                "rated below the threshold": rated,
                "rated high enough, beyond the budget": passed,
                "rated high enough": kept,
                **unrated,
            },
            facts={"ratings": histogram(rated.values("judge.score")), "unrated": counted(unrated)},
        )
