"""The order of a command's words: a recipe first, then inputs. It imports nothing heavy: a slip is answered at once."""

import os
from collections.abc import Sequence

from jobs.engine.terminal.errors import UsageError
from jobs.engine.terminal.modules import nearest, recipe_names, refuse_unknown_recipe
from jobs.engine.terminal.program import program


def refuse_without_recipe(words: Sequence[str]) -> None:
    """UsageError where the first word is no recipe, with the command in its order where a recipe comes after it."""
    if not words:
        raise UsageError(f"name a recipe: {', '.join(recipe_names())}")
    first = words[0]
    recipe = next((word for word in words if word in recipe_names()), "")
    if recipe and recipe != first:
        inputs = " ".join(word for word in words if word != recipe)
        raise UsageError(f"the recipe comes first: {program('curate')} {recipe} {inputs}")
    if not recipe and os.path.exists(first):
        raise UsageError(
            f"{first} is no recipe; name one first: {program('curate')} RECIPE {' '.join(words)}. "
            f"There are: {', '.join(recipe_names())}"
        )
    refuse_unknown_recipe(first)


def refuse_recipe(given: str) -> None:
    """UsageError for an input that is not there, and is or resembles the name of a recipe."""
    if not given.isidentifier() or os.path.lexists(given):
        return
    recipes = recipe_names()
    if given in recipes:
        raise UsageError(f"{given}: there is no such file or folder; it is a recipe, and `winnow compare` runs several")
    if near := nearest(given, recipes, alike=0.65):
        raise UsageError(f"{given}: there is no such file or folder{near}")
