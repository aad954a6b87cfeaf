"""What is evolved, how far, and who is asked."""

from collections.abc import Iterable

from pydantic import Field
from pydantic.dataclasses import dataclass

from jobs.engine.command.config import configured
from jobs.engine.recipe.steps import checked
from operators.asking.asking import Asking
from operators.asking.evolve import Compare, Dimension, Evolve
from operators.asking.rankings import FEWEST
from operators.base import STRICT


@dataclass(frozen=True, config=STRICT)
class Evolution:
    """What is evolved, how far, and who is asked."""

    dimension: Dimension
    seeds: int = Field(default=2000, ge=1)
    """How many samples are drawn; all where there are not so many."""
    steps: int = Field(default=5, ge=1)
    """Variants that are made of a seed."""
    seed: int = Field(default=0, ge=0)
    """The draw of the seeds follows from it; that of methods and orders from `rewriter.seed` and `judge.seed`."""
    max_errors: float = Field(default=0.01, ge=0, le=1)
    """The share of a step's questions that may fail before the run fails."""
    max_lost: float = Field(default=0.5, ge=0, le=1)
    """The share of the seeds that may stay too short to be rated, as the rewriter made too few variants of them."""
    max_unrated: float = Field(default=0.2, ge=0, le=1)
    """The share of the chains that may be dropped, as the judge scored too few of their variants."""
    rewriter: Asking = Asking(max_tokens=1024, temperature=0.5)
    judge: Asking = Asking(max_tokens=256)

    @property
    def shortest(self) -> int:
        """The variants of a chain that is rated, the seed among them."""
        return min(FEWEST, self.steps + 1)

    def rewriting(self, step: int) -> Evolve:
        """The operator that makes the variants of a step, 1 and on."""
        return Evolve.by(self.rewriter, self.dimension, step)

    def comparison(self, attempt: int) -> Compare:
        """The operator that has chains rated for the first time (attempt 0) or again."""
        return Compare.by(self.judge, self.dimension, attempt)


def evolution(dimension: str, overrides: Iterable[str]) -> Evolution:
    """The evolution with its fields set by `field=value`; UsageError names the one that is wrong."""
    return configured(Evolution, {"dimension": dimension}, overrides)


def checked_evolution(dimension: str, overrides: Iterable[str]) -> Evolution:
    """The evolution with its fields set; ModelMissing where nobody would answer."""
    wanted = evolution(dimension, overrides)
    checked((wanted.rewriting(1), wanted.comparison(0)))
    return wanted
