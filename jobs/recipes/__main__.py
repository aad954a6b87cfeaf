"""The recipes: the paper of each, and what it needs besides samples.

winnow recipes
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any

from jobs.engine.terminal.modules import paper, recipe_names
from jobs.engine.terminal.parser import Parser
from jobs.engine.terminal.program import exit_code, program
from jobs.engine.terminal.screen import beside, say

if TYPE_CHECKING:
    from jobs.engine.recipe.recipe import Recipe


def arguments() -> Parser:
    return Parser(prog=program("recipes"), description="List the recipes, and what each needs.")


def needs(recipe: type[Recipe]) -> Iterator[str]:
    """Gives what a recipe needs with its defaults: models, fields without a default, and what else the recipe names."""
    yield from recipe.needs
    unset = [field.name for field in fields(recipe) if field.default is MISSING and field.default_factory is MISSING]
    yield from (f"{name}=..., which has no default" for name in unset)
    steps = {} if unset else recipe().steps()
    for field in fields(recipe):
        if unset or field.name in steps:
            yield from _models(field.name, field.default)


def _models(name: str, declaration: Any) -> Iterator[str]:
    """Gives the model that a field needs; nothing for the default embedder."""
    from operators.asking.asking import Asking
    from operators.checkpoint import MINILM
    from operators.training.finetune import Finetune

    if isinstance(declaration, Finetune):
        yield f"{name}.base, a model to train ({declaration.base.name})"
        if declaration.labels:
            named = [f"{key}={value}" for key, value in vars(declaration.labels).items() if key in ("label", "slots")]
            yield f"records with {name}.labels ({', '.join(named)})"
        return
    model = getattr(declaration, "model", None)
    if model is None or model.name == MINILM:
        return
    if isinstance(declaration, Asking):
        yield f"{name}.model, a language model that is asked by vLLM or at {name}.endpoint=URL ({model.name})"
    else:
        kind = type(declaration).__name__
        # A name of several words, such as HiddenState, stays as it is.
        yield f"{name}.model, a {kind.lower() if kind.istitle() else kind} model ({model.name})"


def main(argv: Sequence[str] | None = None) -> int:
    arguments().parse_args(argv)

    from jobs.engine.command.config import recipe_class

    names = recipe_names()
    width = max(map(len, names))
    for name in names:
        say(beside(f"{name:<{width}}  ", paper(name)))
        for need in needs(recipe_class(name)):
            say(beside(f"{'':<{width}}    needs ", need))
    say(f"\n`{program('curate')} RECIPE` lists a recipe's fields; `{program('doctor')} RECIPE` looks for its models.")
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
