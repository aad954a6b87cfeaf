"""What is said where fewer samples are kept than the budget allows."""

import numpy as np
import pytest

from jobs.engine.command.config import Request, build
from jobs.engine.pool.selection import Selection

REASON = np.array([2, 1, 1, 0, 1], np.int8)
CHOSEN = Selection(np.array([0]), np.zeros(5), REASON, ("not scored", "close to a kept sample", "kept"), "pool")


def fact(recipe: str, *overrides: str, samples: int = 5) -> dict[str, str]:
    return build(recipe, Request(), overrides).unmet(CHOSEN, samples)


def test_the_reasons_of_the_others_and_of_the_method_are_told():
    told = (
        "1 kept of 3: all other candidates have the vectors of kept samples; close to a kept sample (3), not scored (1)"
    )
    assert fact("ltd", "budget=3") == {"budget not met": told}
    assert fact("ltd", "budget=60%") == {"budget not met": told}
    assert fact("at_random", "budget=3") == {
        "budget not met": "1 kept of 3: close to a kept sample (3), not scored (1)"
    }


@pytest.mark.parametrize("budget", ["1", "20%", "100%", "tokens:5"])
def test_nothing_is_told_where_the_budget_was_met_or_limits_nothing(budget):
    assert fact("ltd", f"budget={budget}") == {}


def test_a_budget_above_a_known_pool_is_refused_where_it_counts():
    def refusals(recipe: str, *overrides: str) -> list[str]:
        return [*build(recipe, Request(), overrides).refusals_of(5)]

    assert refusals("ltd", "budget=6") == ["budget 6 is above the 5 samples of the pool"]
    assert refusals("ltd", "budget=5") == refusals("ltd", "budget=tokens:99") == refusals("ltd") == []
    assert refusals("lift", "budget=6") == refusals("instructmining", "budget=6", "size=search") == []
