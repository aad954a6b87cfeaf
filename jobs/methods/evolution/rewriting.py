"""The steps of an evolution. Each step makes a new variant from the last variant of every chain."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jobs.engine.pool.pool import Pool
from jobs.engine.pool.subset import Subset
from jobs.engine.terminal.errors import OutOfRoom, Unanswered
from jobs.methods.evolution.chains import lengthened
from jobs.methods.evolution.declaration import Evolution
from jobs.methods.replies import refusal
from operators.asking.evolve import WITHOUT_TEXT, Compare, Evolve

FAILED = "failed"
"""The outcome of a chain whose question failed in a step."""


@dataclass(frozen=True)
class Step:
    """The result of a step for every chain."""

    methods: np.ndarray
    """(chains,) str, the method that was drawn; empty where the question failed."""
    outcomes: np.ndarray
    """(chains,) str, the outcome of `Evolve` or FAILED; empty for a variant without a flag."""

    @property
    def made(self) -> np.ndarray:
        """(chains,) bool, whether the chain has a new variant."""
        return ~np.isin(self.outcomes, (FAILED, *WITHOUT_TEXT))

    def facts(self) -> dict[str, Any]:
        """The counts of the step for the manifest."""
        return {"made": int(self.made.sum()), "outcomes": counted(self.outcomes), "methods": counted(self.methods)}


def evolved(chains: Pool, wanted: Evolution) -> tuple[Pool, list[Step]]:
    """The chains after the last step, and the result of each step."""
    steps: list[Step] = []
    for number in range(1, wanted.steps + 1):
        column = f"step_{number}"
        rewritten = asked("rewriter", chains, column, wanted.rewriting(number))
        step = Step(np.full(chains.samples, "", object), np.full(chains.samples, FAILED, object))
        step.methods[rewritten.ids] = rewritten.values(f"{column}.method")
        step.outcomes[rewritten.ids] = rewritten.values(f"{column}.outcome")
        steps.append(step)
        chains = lengthened(rewritten, column, wanted.dimension)
    return chains, steps


def asked(field: str, chains: Subset, column: str, operator: Evolve | Compare) -> Subset:
    """The chains with a value in the operator's column; OutOfRoom names `field`, which declares the model."""
    try:
        return chains.map(**{column: operator})
    except OutOfRoom as error:
        raise OutOfRoom(field, error.said, error.tokens) from error


def refuse_short(wanted: Evolution, steps: Sequence[Step], lengths: np.ndarray) -> None:
    """Raises Unanswered where the rewriter left too many chains too short to be rated."""
    short = np.flatnonzero(lengths < wanted.shortest)
    if len(short) > wanted.max_lost * len(lengths):
        why = Counter(str(next(step.outcomes[chain] for step in steps if not step.made[chain])) for chain in short)
        raise Unanswered(refusal("rewriter", wanted.rewriter, f"max_lost={wanted.max_lost:g}", len(lengths), why, {}))


def counted(words: np.ndarray) -> dict[str, int]:
    """The number of occurrences of each word, the most frequent first; the empty word is counted as `good`."""
    return {str(word) or "good": count for word, count in Counter(words.tolist()).most_common()}
