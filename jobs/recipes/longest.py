"""The length baseline: the samples with the longest responses.

1. Count the tokens of each response.
2. Keep the longest, ties by id.

Before use: long responses alone are a strong baseline for instruction tuning, and several methods favour long responses
unintentionally. A method that beats this baseline finds something besides length.
"""

from pydantic.dataclasses import dataclass

from jobs.engine.recipe import Pool, Recipe, Selection
from operators.base import STRICT
from operators.tokens import Tokens


@dataclass(frozen=True, config=STRICT)
class Longest(Recipe):
    """Samples in descending order of the number of tokens in their responses."""

    length: Tokens = Tokens(text="{response}")
    """The operator that counts the tokens of a response."""

    def select(self, pool: Pool) -> Selection:
        """Keeps the samples with the most tokens."""
        measured = pool.map(length=self.length)
        kept = self.within(pool, measured.ranked("length"))
        because = {"shorter than the kept ones": measured, "among the longest": kept}
        return pool.selection(kept, score="length", because=because)
