"""What a run says where fewer samples are kept than its budget allows."""

from collections.abc import Iterator

import numpy as np

from jobs.engine.pool.selection import Selection
from jobs.engine.recipe.recipe import Recipe

UNMET = "budget not met"
WHOLE = "100%"


def unmet(recipe: Recipe, chosen: Selection, samples: int) -> dict[str, str]:
    """The fact that a budget in samples or percent was not met, with the reasons; empty where it was.

    chosen: what the recipe kept. samples: those of the pool that a percentage is of. A budget of 100% only says that
    nothing limits the selection.
    """
    if recipe.budget.startswith("tokens:") or recipe.budget == WHOLE or not recipe.spends_budget():
        return {}
    wanted, kept = recipe.size_of_budget(samples), len(chosen.ids)
    if kept >= wanted:
        return {}
    why = "; ".join(filter(None, [recipe.fewer, ", ".join(_dropped(chosen))]))
    return {UNMET: f"{kept:,} kept of {wanted:,}" + (f": {why}" if why else "")}


def _dropped(chosen: Selection) -> Iterator[str]:
    """The reasons of the samples that were not kept, the most frequent one first."""
    dropped = np.ones(len(chosen.reason), bool)
    dropped[chosen.ids] = False
    counts = np.bincount(chosen.reason[dropped], minlength=len(chosen.reasons))
    for position in sorted(np.flatnonzero(counts), key=lambda position: (-counts[position], position)):
        yield f"{chosen.reasons[position]} ({counts[position]:,})"
