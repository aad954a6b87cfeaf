"""The control: the samples with the longest responses, counted in tokens (ties by id).

Long responses alone are a strong baseline for instruction tuning, and several methods lean towards length
without meaning to: what beats this one has found something else.
"""

from pydantic.dataclasses import dataclass

from jobs.engine.pool.pool import Pool
from jobs.engine.pool.selection import Selection
from jobs.engine.recipe.recipe import Recipe
from operators.base import STRICT
from operators.kernels.ranking import ranked
from operators.tokens import Tokens


@dataclass(frozen=True, config=STRICT)
class Longest(Recipe):
    """Samples by the number of tokens of their responses."""

    length: Tokens = Tokens(text="{response}")

    def select(self, pool: Pool) -> Selection:
        """The most tokens first."""
        pool = self.counted(pool.map(length=self.length))
        ids = pool.valid("length")
        length = pool.values("length", ids)
        order = ids[ranked(length)]
        kept = self.within(pool, lambda k: order[:k])
        return pool.select(
            kept,
            score=(ids, length.astype(float)),
            reasons={"shorter than the kept ones": ids, "among the longest": kept},
        )
