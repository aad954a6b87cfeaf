"""Who takes part in a comparison: the recipes that were named, with their fields, and the controls."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import Field as Limits
from pydantic.dataclasses import dataclass as declaration

from jobs.engine.command.config import Request, build, configured
from jobs.engine.recipe.recipe import Recipe
from jobs.engine.record.declarations import validated, yaml_in
from jobs.engine.terminal.errors import UsageError, each_of, refuse
from jobs.engine.terminal.modules import nearest, recipe_names
from operators.base import STRICT
from operators.checkpoint import Checkpoint
from operators.embedding.embed import Embed
from operators.missing import ModelMissing
from operators.tokens import Tokens
from operators.training.finetune import Finetune

RANDOM = "random-"
"""How the names of the random selections begin; their numbers follow."""

DRAWS = 2_000_003
"""What the seeds of the controls' draws are above the seed of the comparison.

Recipes draw bases, warm-up samples and shares with their own seed, which is 0 by default. A random selection with that
seed would be the same draw, and would seem to agree with those recipes.
"""


@declaration(frozen=True, config=STRICT)
class Comparison:
    """How selections are compared."""

    embed: Embed = Embed(text="{conversation}")
    """The embedding in which distances, topics and near-duplicates are measured."""
    topics: int = Limits(default=100, ge=1)
    """The number of topics, which are centroids of the pool."""
    near: float = Limits(default=0.95, gt=0, le=1)
    """The similarity from which two kept samples are near-duplicates."""
    source: str | None = None
    """The field of the records that names their source; none: the file that they are from."""
    seeds: int = Limits(default=3, ge=1)
    """The number of random selections, and of fine-tunes on each selection."""
    train: Finetune = Finetune(Checkpoint(""), epochs=2)
    """The fine-tunes; --finetune is their base."""
    steps: int = Limits(default=16, ge=1)
    """The optimiser steps of an epoch, which are as many for every selection: the batch is what follows from it."""
    seed: int = Limits(default=0, ge=0)
    """The number of the first random selection, and the seed of the first fine-tune; topics have one that follows."""
    tokens: Tokens = Tokens()
    """The operator that counts the tokens of a sample."""
    max_errors: float = Limits(default=0.01, ge=0, le=1)
    """The share of samples without an embedding, or without a held-out loss, above which the comparison fails."""


@declaration(frozen=True, config=STRICT)
class Entry:
    """A recipe in the --config of a comparison, by the name that the table gives it."""

    recipe: str | None = None
    """The recipe; none: the name is its own."""
    as_published: bool = False
    fields: dict[str, Any] = Limits(default_factory=dict)


@dataclass(frozen=True)
class Contender:
    """A recipe that takes part, by the name that the table gives it."""

    name: str
    request: Request
    overrides: tuple[str, ...] = ()

    def recipe(self) -> Recipe:
        """The recipe with its fields set, checked. UsageError or ModelMissing says all that is wrong without data."""
        recipe = build(self.request.recipe or self.name, self.request, self.overrides)
        recipe.check()
        return recipe


def entries_in(file: str | None) -> dict[str, Entry]:
    """The recipes in a YAML file, a mapping from names to entries.

    UsageError where it is none, or where a name is that of no folder.
    """
    content = yaml_in(file, f"--config {file}") if file else {}
    if not isinstance(content, dict) or not all(isinstance(each, dict | None) for each in content.values()):
        raise UsageError(f"--config {file} is not a mapping from names to recipe, fields and as_published")
    for name in map(str, content):
        if not {"", ".", ".."}.isdisjoint(name.split("/")):
            raise UsageError(f"--config {file}: {name!r} is the name of no folder, and its selection gets one in --out")
    return {f"{name}": validated(Entry, each or {}, f"--config {file}: {name}.") for name, each in content.items()}


def contenders(
    named: Sequence[str], entries: Mapping[str, Entry], wanted: Comparison, shared: Request, overrides: Sequence[str]
) -> list[Contender]:
    """The controls, then the named recipes, then those of the configuration that are not named.

    shared: the inputs and the budget, which an entry may change. overrides: NAME.field=value. A control that is named
    stays what it is, unless an entry changes it. UsageError for a name like those of the random selections, with which
    all others are compared, and for a recipe that there is not.
    """
    if taken := [name for name in entries if name.startswith(RANDOM)]:
        raise UsageError(f"{taken[0]!r} is a name for a random selection of the comparison; choose another")
    numbers = range(wanted.seed, wanted.seed + wanted.seeds)
    controls = {
        **{f"{RANDOM}{number}": Entry("at_random", fields={"seed": DRAWS + number}) for number in numbers},
        "balanced": Entry(fields={"source": wanted.source, "seed": DRAWS + numbers.stop}),
        "longest": Entry(),
    }
    wished = dict.fromkeys([*named, *entries])
    made = {**controls, **{name: entries.get(name) or controls.get(name) or Entry() for name in wished}}
    for name, entry in made.items():
        if (entry.recipe or name) not in recipe_names():
            raise UsageError(
                f"no recipe {entry.recipe or name!r}{nearest(entry.recipe or name, recipe_names()) or '.'}"
            )
    return [
        Contender(
            name,
            replace(
                shared,
                recipe=entry.recipe or name,
                fields={**shared.fields, **entry.fields},
                as_published=entry.as_published,
            ),
            tuple(each.removeprefix(f"{name}.") for each in overrides if each.startswith(f"{name}.")),
        )
        for name, entry in made.items()
    ]


def settings(overrides: Sequence[str], base: str | None) -> Comparison:
    """The settings of a comparison by field=value; base: the model of the fine-tunes, which is checked, or None.

    UsageError names a field that is wrong; ModelMissing a model that is not there.
    """
    wanted = configured(Comparison, {}, [*([f"train.base.name={base}"] if base else []), *overrides])
    if wanted.train.batch is not None:
        raise UsageError("train.batch follows from steps and the number of kept samples: set steps")
    if wanted.embed.scale != "unit":
        raise UsageError("embed.scale=raw: near-duplicates are found by the distance of unit vectors: leave it at unit")
    wanted.embed.check()
    if base:
        wanted.train.check()
    return wanted


def checked(
    taking_part: Sequence[Contender], skip: Sequence[type[Exception]]
) -> tuple[dict[str, Recipe], dict[str, str]]:
    """The recipes by name, and why each of the others is left out.

    skip: the kinds of error for which a contender is left out. Any other is raised, all at once, with its name.
    """
    recipes, left_out, errors = {}, {}, []
    for each in taking_part:
        try:
            recipes[each.name] = each.recipe()
        except (UsageError, ModelMissing, ValueError) as error:
            if isinstance(error, tuple(skip)):
                left_out[each.name] = str(error)
            else:
                errors += _named(each.name, error)
    refuse(errors)
    return recipes, left_out


def _named(name: str, error: Exception) -> Iterator[Exception]:
    for each in each_of(error):
        kind = ModelMissing if isinstance(each, ModelMissing) else UsageError
        yield kind(f"{name}: {each}")
