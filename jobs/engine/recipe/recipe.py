"""The recipe: a method as a frozen dataclass of operators and numbers, and its budget."""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass as plain_dataclass
from decimal import Decimal
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import BeforeValidator
from pydantic import Field as Limits
from pydantic.dataclasses import dataclass

from jobs.engine.pool.pool import Pool
from jobs.engine.pool.selection import Selection
from jobs.engine.terminal.arguments import MAX_UNREADABLE
from jobs.engine.terminal.errors import UsageError, refuse, together
from operators.base import STRICT, Operator
from operators.tokens import Tokens
from operators.training.finetune import Finetune

_TOKENS = re.compile(r"tokens:(.+?)([kKmMgGbB]?)")
_NUMBER = re.compile(r"[0-9]+(_[0-9]+)*(\.[0-9]*)?|\.[0-9]+")
_THOUSANDS = re.compile(r"[1-9][0-9]{0,2}(,[0-9]{3})+(\.[0-9]+)?")
_SCALE = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "b": 10**9}


def budget_text(value: object) -> str:
    """The budget in its one spelling: "6000", "5%" or "tokens:200000"; ValueError for anything else."""
    text = str(value).strip()
    wanted = f"budget {value!r} is none of: a number of samples (6000), a share (5%), tokens (tokens:200k)"
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(wanted)
    if match := _TOKENS.fullmatch(text):
        number, scale = match.groups()
        amount = int(_positive(number, wanted) * _SCALE[scale.lower()])
        if not amount:
            raise ValueError(f"{wanted}; and it must be a token or more")
        return f"tokens:{amount}"
    if text.endswith("%"):
        share = _positive(text[:-1], wanted)
        if share > 100:
            raise ValueError(f"budget {value!r} is more than the whole pool")
        return f"{share.normalize():f}%"
    amount = _positive(text, wanted)
    if amount != int(amount):
        raise ValueError(wanted)
    return str(int(amount))


def _positive(text: str, wanted: str) -> Decimal:
    """The number that a text is, above 0; commas or underscores may group its thousands. ValueError for any other."""
    text = text.strip()
    if "," in text and not _THOUSANDS.fullmatch(text):
        raise ValueError(f"{wanted}. A comma is for thousands alone (12,000): write 2.5%, not 2,5%")
    text = text.replace(",", "")
    if not _NUMBER.fullmatch(text):
        raise ValueError(wanted)
    number = Decimal(text.replace("_", ""))
    if number <= 0:
        raise ValueError(f"{wanted}; and it must be above 0")
    return number


Budget = Annotated[str, BeforeValidator(budget_text)]


@plain_dataclass(frozen=True)
class Later:
    """A column of an operator whose model the run trains first."""

    operator: str
    """The name of its class."""


@plain_dataclass(frozen=True)
class Reads:
    """Inputs besides the run's own, such as target samples."""

    inputs: str


Step = Operator | Finetune | Later | Reads
STEPS = (Operator, Finetune)
STEPS = (Operator, Finetune)


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
        declared: dict[str, Step] = {name: value for name, value in vars(self).items() if isinstance(value, STEPS)}
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
        pool = pool.map(tokens=self.tokens)
        total = int(pool.values("tokens", pool.valid("tokens")).sum())
        if self._tokens() > total:
            raise UsageError(f"budget {self.budget} is above the {total:,} tokens of the pool")
        return pool

    def within(self, pool: Pool, rank: Callable[[int], np.ndarray]) -> np.ndarray:
        """The best ids that the budget pays for, where rank(k) gives the k best (fewer where there are no more).

        A budget in tokens is spent once the samples so far reach it: the last one may go beyond. The k best
        must begin with the k - 1 best.
        """
        if not self.budget.startswith("tokens:"):
            return rank(self.size(pool))
        counts = pool.values("tokens", pool.valid("tokens"))
        guess = max(1, math.ceil(1.2 * self._tokens() / max(counts.mean(), 1)))
        while True:
            ids = rank(min(guess, pool.samples))
            spent = np.cumsum(pool.values("tokens", ids))
            if len(ids) < guess or spent[-1] >= self._tokens():
                return ids[: int(np.searchsorted(spent, self._tokens())) + 1]
            guess *= 2

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


def checked(steps: Iterable[Step]) -> None:
    """Nothing; ModelMissing or UsageError where operators or trainers could not be loaded as they are declared."""
    together(step.check for step in steps if isinstance(step, STEPS))
