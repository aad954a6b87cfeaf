"""The recipe: a selection method as a frozen dataclass of operators and numbers."""

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

WHOLE = "100%"


@dataclass(frozen=True, config=STRICT)
class Recipe:
    """A selection method. Each file in jobs/recipes is a subclass: fields with the paper's defaults, and `select`."""

    published: ClassVar[Mapping[str, Any]] = {}
    """The values that --as-published sets, by dotted field name: the released code's behaviour, the paper's models."""

    needs: ClassVar[tuple[str, ...]] = ()
    """What the recipe needs and its defaults do not provide, in a few words each; models need not be listed."""

    fewer: ClassVar[str] = ""
    """Why the recipe may keep fewer samples than the budget, where the reasons of the dropped ones do not say it."""

    budget: Budget = "5%"
    """How many to keep: 6000 (samples), 5% (of the pool's samples, rounded up) or tokens:200k."""
    seed: int = Limits(default=0, ge=0)
    """The seed of every random choice of the recipe."""
    max_errors: float = Limits(default=0.01, ge=0, le=1)
    """The share of failing samples in an operator above which the run fails."""
    max_unreadable: float = Limits(default=MAX_UNREADABLE, ge=0, le=1)
    """The share of unreadable records above which the run fails."""
    tokens: Tokens = Tokens()
    """The operator that counts tokens for a budget in tokens."""

    def select(self, pool: Pool) -> Selection:
        """The algorithm of the method: maps, reduces, and one selection. `check` has passed before it is called."""
        raise TypeError(f"{type(self).__name__} does not define select()")

    def refusals(self) -> Iterator[str]:
        """Yields a message per contradiction between fields, and per file that a field names and that does not exist.

        It needs no data.
        """
        yield from ()

    def check(self) -> None:
        """Raises UsageError or ModelMissing where the recipe cannot run; it needs no data.

        The message lists all refusals, and all operators and trainers that cannot be loaded.
        """
        together([partial(refuse, map(UsageError, self.refusals())), lambda: checked(self.steps().values(), self)])

    def steps(self) -> dict[str, Step]:
        """The steps of `select`, by column or field, in order; used by --plan, and to check them before anything runs.

        By default these are the operators and trainers among the fields. The steps that a run took are in its record.
        """
        declared: dict[str, Step] = {name: value for name, value in vars(self).items() if isinstance(value, DECLARED)}
        if not self.budget.startswith("tokens:"):
            declared.pop("tokens")
        return declared

    def answers(self) -> Literal["needed", "optional"]:
        """Whether ingest requires an answer in each record: "optional" for recipes that train on labels only."""
        trainers = [value for value in vars(self).values() if isinstance(value, Finetune)]
        return "optional" if any(trainer.labels for trainer in trainers) else "needed"

    def counted(self, pool: Pool) -> Pool:
        """The pool, with the column `tokens` where the budget is in tokens.

        UsageError where the budget is more tokens than the pool has.
        """
        if not self.budget.startswith("tokens:"):
            return pool
        counted = pool.map(tokens=self.tokens)
        total = int(counted.values("tokens").sum())
        if self._tokens() > total:
            raise UsageError(f"budget {self.budget} is above the {total:,} tokens of the pool")
        return replace(pool, columns=counted.columns)

    def within(self, pool: Pool, ranking: Ranking | Callable[[int], Ranking]) -> Ranking:
        """The best samples of a ranking that fit the budget.

        A ranking that is expensive to compute is passed as a function of k. It returns the k best samples, or fewer
        where there are no more; the k - 1 best have to be the first k - 1 of them. A budget in tokens is spent when the
        samples so far reach it, so the last sample may exceed it. UsageError where the budget is more than the pool.
        """
        if not self.budget.startswith("tokens:"):
            size = self.budget_size(pool)
            return ranking[:size] if isinstance(ranking, Ranking) else ranking(size)
        best = (lambda k: ranking[:k]) if isinstance(ranking, Ranking) else ranking
        mean = pool.columns["tokens"].whole("").mean()
        guess = max(1, math.ceil(1.2 * self._tokens() / max(mean, 1)))
        while True:
            first = best(min(guess, pool.samples))
            kept, spent = self._spent(first)
            if len(first) < guess or spent:
                return kept
            guess *= 2

    def _spent(self, ranking: Ranking) -> tuple[Ranking, bool]:
        """The first samples of the ranking that a budget in tokens allows, and whether they spend the budget."""
        ranking = ranking.having("tokens")
        spent = np.cumsum(ranking.values("tokens"))
        enough = bool(len(spent)) and spent[-1] >= self._tokens()
        return ranking[: int(np.searchsorted(spent, self._tokens())) + 1], enough

    def refused_in_tokens(self) -> Iterator[str]:
        """A refusal where the budget is in tokens, for recipes that need a number of samples."""
        if self.budget.startswith("tokens:"):
            yield f"{type(self).__name__} takes a budget in samples or percent, not {self.budget!r}"

    def _tokens(self) -> int:
        return int(self.budget.removeprefix("tokens:"))

    def budget_size(self, pool: Pool) -> int:
        """The budget as a number of samples; a share of the pool is rounded up.

        UsageError where the budget is more samples than the pool has, or in tokens.
        """
        refuse(map(UsageError, self.refused_in_tokens()))
        size = self.size_of_budget(pool.samples)
        if size > pool.samples:
            raise UsageError(above(self.budget, pool.samples))
        return size

    def size_of_budget(self, samples: int) -> int:
        """A budget in samples or percent as a number of samples; samples: those of the pool."""
        if self.budget.endswith("%"):
            return math.ceil(Decimal(self.budget[:-1]) * samples / 100)
        return int(self.budget)

    def spends_budget(self) -> bool:
        """Whether the budget says how many samples are kept."""
        return True

    def refusals_of(self, samples: int) -> Iterator[str]:
        """Yields a message if the budget is more than a pool of this number of samples has."""
        counted = self.spends_budget() and not self.budget.startswith("tokens:")
        if counted and self.size_of_budget(samples) > samples:
            yield above(self.budget, samples)

    def unmet(self, chosen: Selection, samples: int) -> dict[str, str]:
        """The fact that a budget in samples or percent was not met, with the reasons; empty where it was.

        chosen: what the recipe kept. samples: those of the pool that a percentage is of. A budget of 100% only says
        that nothing limits the selection.
        """
        if self.budget.startswith("tokens:") or self.budget == WHOLE or not self.spends_budget():
            return {}
        wanted, kept = self.size_of_budget(samples), len(chosen.ids)
        if kept >= wanted:
            return {}
        why = "; ".join(filter(None, [self.fewer, ", ".join(_dropped(chosen))]))
        return {"budget not met": f"{kept:,} kept of {wanted:,}" + (f": {why}" if why else "")}


def above(budget: str, samples: int) -> str:
    """The refusal of a budget of more samples than a pool has."""
    return f"budget {budget} is above the {samples:,} samples of the pool"


def _dropped(chosen: Selection) -> Iterator[str]:
    """The reasons of the samples that were not kept, the most frequent one first."""
    dropped = np.ones(len(chosen.reason), bool)
    dropped[chosen.ids] = False
    counts = np.bincount(chosen.reason[dropped], minlength=len(chosen.reasons))
    for position in sorted(np.flatnonzero(counts), key=lambda position: (-counts[position], position)):
        yield f"{chosen.reasons[position]} ({counts[position]:,})"
