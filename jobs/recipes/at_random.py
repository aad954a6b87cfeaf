"""The control: a random choice of the same size. A method has to beat it over several seeds."""

from pydantic.dataclasses import dataclass

from jobs.engine.pool.pool import Pool
from jobs.engine.pool.selection import Selection
from jobs.engine.recipe.recipe import Recipe
from operators.base import STRICT
from operators.kernels.sampling import random_order


@dataclass(frozen=True, config=STRICT)
class AtRandom(Recipe):
    """Samples in a random order that follows from the seed."""

    def select(self, pool: Pool) -> Selection:
        """The first of a random permutation."""
        pool = self.counted(pool)
        order = random_order(pool.samples, self.seed)
        kept = self.within(pool, lambda k: order[:k])
        return pool.select(kept, reasons={"not drawn": order, "drawn at random": kept})
