"""The random baseline: a random selection of the same size.

1. Draw the samples in a random order that depends on the seed.

Before use: a method should beat this baseline over several seeds.
"""

from pydantic.dataclasses import dataclass

from jobs.engine.recipe import Pool, Recipe, Selection
from operators.base import STRICT


@dataclass(frozen=True, config=STRICT)
class AtRandom(Recipe):
    """Samples in a random order."""

    def select(self, pool: Pool) -> Selection:
        """Keeps the first samples of a random permutation."""
        kept = self.within(pool, pool.shuffled(self.seed))
        return pool.selection(kept, because={"not drawn": pool, "drawn at random": kept})
