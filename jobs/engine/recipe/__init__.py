"""What every recipe shares: fields, a budget, the steps that it declares and what it refuses.

The names that recipes are written in can be imported from here.
"""

from jobs.engine.pool.pool import Pool
from jobs.engine.pool.selection import Selection
from jobs.engine.pool.series import Series
from jobs.engine.pool.subset import Ranking, Subset
from jobs.engine.recipe.budget import Budget
from jobs.engine.recipe.recipe import Recipe
from jobs.engine.recipe.steps import Later, Reads, Step

__all__ = ["Budget", "Later", "Pool", "Ranking", "Reads", "Recipe", "Selection", "Series", "Step", "Subset"]
