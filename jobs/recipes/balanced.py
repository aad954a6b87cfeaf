"""The balanced baseline: a random selection with the same number of samples from each source.

1. Draw the samples of each source in a random order that depends on the seed.
2. Let the sources take turns, as long as each has samples.

Before use: a source with fewer samples than its part gives all of them, and the others fill the budget. On a corpus of
one source this is a random selection.
"""

from pydantic.dataclasses import dataclass

from jobs.engine.recipe import Pool, Recipe, Selection
from jobs.methods.sources import Sources
from operators.base import STRICT
from operators.kernels.sampling import balanced_order


@dataclass(frozen=True, config=STRICT)
class Balanced(Recipe):
    """Samples in a random order in which the sources take turns."""

    source: str | None = None
    """The field of the records that names their source; none: the file that they are from."""

    def select(self, pool: Pool) -> Selection:
        """Keeps the first samples of the order."""
        sources = Sources.read(pool, self.source).named_by(self.source)
        drawn = pool.bind(source=sources.of).reduce(balanced_order, "source", seed=self.seed)
        kept = self.within(pool, drawn)
        facts = {"sources": len(sources.names)}
        return pool.selection(kept, because={"not drawn": pool, "drawn at random": kept}, facts=facts)
