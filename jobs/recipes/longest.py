"""The control: the samples with the longest responses.

1. Count the tokens of each response.
2. Keep the longest, ties by id.

Before use: long responses alone are a strong baseline for instruction tuning, and several methods lean towards length
without meaning to. What beats this one has found something else.
"""

from pydantic.dataclasses import dataclass

from jobs.engine.recipe import Pool, Recipe, Selection
from operators.base import STRICT
from operators.tokens import Tokens


@dataclass(frozen=True, config=STRICT)
class Longest(Recipe):
    """Samples by the number of tokens of their responses."""

    length: Tokens = Tokens(text="{response}")
    """How the length of a response is counted."""

    def select(self, pool: Pool) -> Selection:
        """The most tokens first."""
        measured = pool.map(length=self.length)
        kept = self.within(pool, measured.ranked("length"))
        because = {"shorter than the kept ones": measured, "among the longest": kept}
        return pool.selection(kept, score="length", because=because)
