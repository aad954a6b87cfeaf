"""The recipe: a method as a frozen dataclass of operators and numbers."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field as Limits
from pydantic.dataclasses import dataclass

from jobs.engine.pool.pool import Pool
from jobs.engine.pool.selection import Selection
from jobs.engine.pool.subset import Ranking
from jobs.engine.recipe.budget import Budget
from jobs.engine.recipe.steps import DECLARED, Step, checked
from jobs.engine.terminal.arguments import MAX_UNREADABLE
from jobs.engine.terminal.errors import UsageError, refuse, together
from operators.base import STRICT
from operators.tokens import Tokens
from operators.training.finetune import Finetune


@dataclass(frozen=True, config=STRICT)
class Recipe:
    """A selection method. A subclass is one file in jobs/recipes: fields with the paper's defaults, and `select`."""

    published: ClassVar[Mapping[str, Any]] = {}
    """The fields, by dotted name, that --as-published sets: the released code's behaviour and the paper's models."""

    needs: ClassVar[tuple[str, ...]] = ()
    """What the recipe cannot do without and no field's default has, in a few words each; models need not be named."""

    budget: Budget = "5%"
    """How many to keep: 6000 (samples), 5% (of the pool's samples, rounded up) or tokens:200k."""
    seed: int = Limits(default=0, ge=0)
    """Every random choice of the recipe follows from it."""
    max_errors: float = Limits(default=0.01, ge=0, le=1)
    """The share of samples that may fail in an operator before the run fails."""
    max_unreadable: float = Limits(default=MAX_UNREADABLE, ge=0, le=1)
    """The share of records that may be unreadable before the run fails."""
    tokens: Tokens = Tokens()
    """How tokens are counted for a budget in tokens."""

    def select(self, pool: Pool) -> Selection:
        """The method itself: maps, reduces, and one selection."""
        raise TypeError(f"{type(self).__name__} does not define select()")

    def refusals(self) -> Iterator[str]:
        """What is wrong with the fields together, and which files they name are not there; it needs no data."""
        yield from ()

    def check(self) -> None:
        """Nothing where `select` may begin; UsageError or ModelMissing tells everything that can be told without data.

        That is the refusals, and operators and trainers that could not be loaded.
        """
        together([partial(refuse, map(UsageError, self.refusals())), lambda: checked(self.steps().values())])

    def steps(self) -> dict[str, Step]:
        """What `select` will do, by column or field, in order: for --plan, and to check it before anything runs.

        By default each operator and trainer among the fields. What a run did is in its record, not here.
        """
        declared: dict[str, Step] = {name: value for name, value in vars(self).items() if isinstance(value, DECLARED)}
        if not self.budget.startswith("tokens:"):
            declared.pop("tokens")
        return declared

    def answers(self) -> Literal["needed", "optional"]:
        """Whether records without an answer are no samples; those that learn labels alone can do without."""
        trainers = [value for value in vars(self).values() if isinstance(value, Finetune)]
        return "optional" if any(trainer.labels for trainer in trainers) else "needed"

    def counted(self, pool: Pool) -> Pool:
        """The pool with the column `tokens` where the budget is in tokens; UsageError where it has fewer."""
        if not self.budget.startswith("tokens:"):
            return pool
        counted = pool.map(tokens=self.tokens)
        total = int(counted.values("tokens").sum())
        if self._tokens() > total:
            raise UsageError(f"budget {self.budget} is above the {total:,} tokens of the pool")
        return replace(pool, columns=counted.columns)

    def within(self, pool: Pool, ranking: Ranking | Callable[[int], Ranking]) -> Ranking:
        """The best samples that the budget pays for.

        A ranking that is dear to make is given as a function of k, which returns its k best samples (fewer where there
        are no more), the first k - 1 of which are its k - 1 best. A budget in tokens is spent once the samples so far
        reach it: the last one may go beyond.
        """
        if not self.budget.startswith("tokens:"):
            size = self.size(pool)
            return ranking[:size] if isinstance(ranking, Ranking) else ranking(size)
        if isinstance(ranking, Ranking):
            return self._spent(ranking)[0]
        mean = pool.columns["tokens"].values(pool.columns["tokens"].ids, "").mean()
        guess = max(1, math.ceil(1.2 * self._tokens() / max(mean, 1)))
        while True:
            best = ranking(min(guess, pool.samples))
            kept, spent = self._spent(best)
            if len(best) < guess or spent:
                return kept
            guess *= 2

    def _spent(self, ranking: Ranking) -> tuple[Ranking, bool]:
        """The beginning of the ranking that a budget in tokens pays for, and whether it is spent."""
        ranking = ranking.having("tokens")
        spent = np.cumsum(ranking.values("tokens"))
        enough = bool(len(spent)) and spent[-1] >= self._tokens()
        return ranking[: int(np.searchsorted(spent, self._tokens())) + 1], enough

    def refused_in_tokens(self) -> Iterator[str]:
        """The refusal of a budget in tokens, for recipes that have to know how many samples it is."""
        if self.budget.startswith("tokens:"):
            yield f"{type(self).__name__} takes a budget in samples or per cent, not {self.budget!r}"

    def _tokens(self) -> int:
        return int(self.budget.removeprefix("tokens:"))

    def size(self, pool: Pool) -> int:
        """The budget as a number of samples of this pool; UsageError above the pool, or for a budget in tokens."""
        refuse(map(UsageError, self.refused_in_tokens()))
        if self.budget.endswith("%"):
            return math.ceil(Decimal(self.budget[:-1]) * pool.samples / 100)
        if int(self.budget) > pool.samples:
            raise UsageError(f"budget {self.budget} is above the {pool.samples:,} samples of the pool")
        return int(self.budget)
