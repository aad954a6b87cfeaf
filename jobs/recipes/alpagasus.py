"""AlpaGasus: Training a Better Alpaca with Fewer Data (Chen et al. 2023, arXiv 2307.08701).

1. A strong language model rates every sample from 0 to 5 by a rubric.
2. The samples with a rating of at least 4.5 are kept.

Before use: the threshold is specific to a judge. For another judge, choose it from the histogram of ratings in the
manifest, or set `fraction`. Ratings are joined to samples by id; the released code joins them by position, where one
missing row shifts the rest.
"""

from typing import ClassVar

from pydantic import Field as Limits
from pydantic.dataclasses import dataclass

from jobs.engine.recipe import Budget, Pool, Recipe, Selection
from jobs.methods.replies import rated_by, unrated_facts
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
    """The maximum number of passing samples to keep, highest rating first, ties by id. The paper keeps all of them."""
    judge: Judge = Judge()
    """The judge. Its prompt is Winnow's, with the rubric of the paper; `judge.dimension` is accuracy, helpfulness or
    another word. A sample is quoted in blocks that its text cannot close. The rating is the number on the first line of
    the reply: "4.5/5" is read, and an ambiguous number or one off the scale is not. As published, the first line must
    be a number, and infinity passes; the model is gpt-3.5-turbo-0301, with 256 tokens to explain the rating."""
    threshold: float = 4.5
    """The lowest rating that passes."""
    fraction: float | None = Limits(default=None, gt=0, le=1)
    """The share of the rated samples that should pass. The threshold is then the rating with the nearest share."""
    max_unrated: float = Limits(default=0.2, ge=0, le=1)
    """The share of replies without a rating above which the run fails. Samples without one are dropped and counted."""

    def select(self, pool: Pool) -> Selection:
        """Rates all samples, and keeps those that reach the threshold."""
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
            facts={"ratings": histogram(rated.values("judge.score")), **unrated_facts(unrated)},
        )
