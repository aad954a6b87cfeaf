"""AlpaGasus: Training a Better Alpaca with Fewer Data (Chen et al. 2023, arXiv 2307.08701).

A strong language model rates every sample; those rated at least 4.5 of 5 are kept. What differs from the released
code, each a field or repaired here:

- The prompt is ours, to the same rubric; `judge.dimension` is accuracy (or helpfulness, or a word of yours), and
  `judge.prompt.name` may be a file of yours. The sample stands in blocks that it cannot close.
- `judge.form`: the number on the first line, read so that "4.5/5" or "Score: 4.5" counts and anything ambiguous, off
  the scale or of another scale does not; `--as-published` reads as the released code does (float of the first line;
  an infinite one passes). Either way a reply without a rating is dropped and counted, never a number, and more of
  them than `max_unrated` end the run.
- `judge.model` is a model of today; `--as-published` asks for gpt-3.5-turbo-0301, with an explanation of 256 tokens.
- Ratings are joined to samples by id. The released code joins by position, where one missing row shifts the rest.
- `threshold` is inclusive. It belongs to one judge: recalibrate it for another, by the histogram in the manifest, or
  have `fraction` choose it, the rating whose kept share comes nearest. `budget` caps what passes, ties by id.
"""

from typing import ClassVar

from pydantic import Field as Limits
from pydantic.dataclasses import dataclass

from jobs.engine.pool.pool import Pool
from jobs.engine.pool.selection import Selection
from jobs.engine.recipe.recipe import Budget, Recipe
from jobs.methods.replies import rated_by
from operators.asking.judge import Judge
from operators.base import STRICT
from operators.kernels.ranking import ranked
from operators.kernels.threshold import histogram, threshold_for


@dataclass(frozen=True, config=STRICT)
class AlpaGasus(Recipe):
    """Keep what a judge rates at least the threshold."""

    published: ClassVar = {
        "judge.model.name": "gpt-3.5-turbo-0301",
        "judge.form": "alpagasus",
        "judge.max_tokens": 256,
    }

    budget: Budget = "100%"
    judge: Judge = Judge()
    threshold: float = 4.5
    fraction: float | None = Limits(default=None, gt=0, le=1)
    max_unrated: float = Limits(default=0.2, ge=0, le=1)

    def select(self, pool: Pool) -> Selection:
        """The samples at or above the threshold, best first."""
        pool = self.counted(pool.map(judge=self.judge))
        ids = pool.valid(*pool.features)
        rated, scores, unrated = rated_by(pool, self.judge, ids, self.max_unrated)
        threshold = threshold_for(scores, self.fraction) if self.fraction else self.threshold
        best = ranked(scores)
        passed = rated[best][scores[best] >= threshold]
        kept = self.within(pool, lambda k: passed[:k])
        return pool.select(
            kept,
            score=(rated, scores),
            reasons={
                "not rated": ids,
                f"rated below {threshold:g}": rated,
                f"rated {threshold:g} or more, beyond the budget": passed,
                f"rated {threshold:g} or more": kept,
                **unrated,
            },
            facts={
                "threshold": threshold,
                "ratings": histogram(scores),
                "unrated": {reason: len(held) for reason, held in unrated.items()},
            },
        )
