"""The declaration of an evolution: what is evolved, how far, and which models are asked."""

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
    """What is evolved, how far, and which models are asked."""

    dimension: Dimension
    seeds: int = Field(default=2000, ge=1)
    """The number of samples that are drawn as seeds; all where there are fewer."""
    steps: int = Field(default=5, ge=1)
    """The number of variants per seed."""
    seed: int = Field(default=0, ge=0)
    """The seed of the draw of the seeds. `rewriter.seed` and `judge.seed` draw the methods and the orders."""
    max_errors: float = Field(default=0.01, ge=0, le=1)
    """The share of failing questions in a step above which the run fails."""
    max_lost: float = Field(default=0.5, ge=0, le=1)
    """The share of chains with too few variants from the rewriter to be rated above which the run fails."""
    max_unrated: float = Field(default=0.2, ge=0, le=1)
    """The share of rated chains with too few scores from the judge to be kept above which the run fails."""
    rewriter: Asking = Asking(max_tokens=1024, temperature=0.5)
    judge: Asking = Asking(max_tokens=256)

    @property
    def shortest(self) -> int:
        """The minimum number of variants of a chain that is rated, including the seed."""
        return min(FEWEST, self.steps + 1)

    def rewriting(self, step: int) -> Evolve:
        """The operator that makes the variants of a step, counted from 1."""
        return Evolve.by(self.rewriter, self.dimension, step)

    def comparison(self, attempt: int) -> Compare:
        """The operator that asks the judge for scores; attempt: 0 for the first time, 1 and more for repetitions."""
        return Compare.by(self.judge, self.dimension, attempt)


def evolution(dimension: str, overrides: Iterable[str]) -> Evolution:
    """The evolution with its fields set by `field=value`; UsageError names a wrong field."""
    return configured(Evolution, {"dimension": dimension}, overrides)


def checked_evolution(dimension: str, overrides: Iterable[str]) -> Evolution:
    """The evolution with its fields set by `field=value`, after a check of its models.

    UsageError names a wrong field; ModelMissing where a model is not there.
    """
    wanted = evolution(dimension, overrides)
    checked((wanted.rewriting(1), wanted.comparison(0)), wanted)
    return wanted
