"""One recipe over one corpus or pool: selection, report, manifest.

winnow curate ltd data.json --out out/ltd budget=5%
winnow curate deft a.jsonl b.parquet --out out/deft budget=1000 embed.model.name=/models/e5
winnow curate ltd qa.jsonl --out out/qa --columns instruction=question,response=answer
winnow curate --config out/ltd/manifest.yaml --out again
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from jobs.engine.terminal.arguments import parsed, reading_given, reading_options, shared_options
from jobs.engine.terminal.errors import UsageError, refuse, together
from jobs.engine.terminal.modules import recipe_names
from jobs.engine.terminal.order import refuse_without_recipe
from jobs.engine.terminal.parser import Parser
from jobs.engine.terminal.program import as_typed, exit_code, fields_and_others, program

if TYPE_CHECKING:
    from jobs.engine.command.config import Request
    from jobs.engine.recipe.recipe import Recipe


def arguments() -> Parser:
    command = program("curate")
    parser = Parser(
        prog=command,
        description="Select the part of a corpus that a recipe finds worth training on.",
        parents=[
            shared_options("--out", "--store", "--profile", "--retry-errors"),
            reading_options(max_unreadable=None),
        ],
        epilog=f"Recipes: {', '.join(recipe_names())}. `{command} RECIPE` alone lists a recipe's fields.",
    )
    parser.add_argument(
        "words",
        nargs="*",
        metavar="RECIPE INPUT... field=value",
        help="the recipe, raw files or one ingested pool, and recipe fields",
    )
    parser.add_argument("--config", help="a YAML file with recipe, inputs and fields, or the manifest of a run")
    parser.add_argument("--as-published", action="store_true", help="the released code's behaviour, quirks included")
    parser.add_argument("--plan", action="store_true", help="print what would be computed, and compute nothing")
    return parser


def asked(options: argparse.Namespace) -> tuple[Request, list[str]]:
    """Returns the request of the command line, which extends that of its --config, and the field=value overrides."""
    overrides, words = fields_and_others(options.words)
    if not options.config:  # before the imports, so that a mistyped name is answered at once
        refuse_without_recipe(words)

    from jobs.engine.command.config import Request, read_request

    request = read_request(options.config) if options.config else Request()
    if request.recipe is None:
        refuse_without_recipe(words)
    # With a recipe in the configuration the words are inputs, unless the first one is a recipe's name.
    if words and (request.recipe is None or words[0] in recipe_names()):
        request = dataclasses.replace(request, recipe=words.pop(0))
    if words:
        request = dataclasses.replace(request, inputs=tuple(words))
    if options.as_published:
        request = dataclasses.replace(request, as_published=True)
    if options.max_unreadable is not None:
        overrides.append(f"max_unreadable={options.max_unreadable}")
    request = dataclasses.replace(request, reading={**request.reading, **reading_given(options)})
    return request, overrides


def checked(request: Request, overrides: Sequence[str]) -> Recipe:
    """Returns the recipe with its fields set. UsageError or ModelMissing says all that is wrong without data."""
    from jobs.engine.command.config import build

    recipe = build(request.recipe or "", request, overrides)
    recipe.check()
    return recipe


def main(argv: Sequence[str] | None = None) -> int:
    options = parsed(arguments(), argv)
    request, overrides = asked(options)

    from jobs.engine.command.config import Asked, build, reading, recipe_class
    from jobs.engine.command.fields import show_fields
    from jobs.engine.command.places import look_at, out_folder, store_at
    from jobs.engine.command.plan import show_plan
    from jobs.engine.execute.profile import profile
    from jobs.engine.execute.session import Session
    from jobs.engine.samples.pool_folder import known_facts

    name = request.recipe or ""
    recipe_class(name)
    if not request.inputs:
        show_fields(name, build(name, request, overrides))
        raise UsageError(f"name what to curate: {program('curate')} {name} FILE... --out FOLDER")
    how, store, recipe, _, *out = together(
        [
            partial(profile, options.profile),
            partial(store_at, options.store),
            partial(checked, request, overrides),
            partial(look_at, request.inputs),
            *([] if options.plan else [partial(out_folder, options.out, options.store, request.inputs)]),
        ]
    )
    settings = reading(request, recipe)
    known = known_facts(request.inputs, store, settings)
    refuse(map(UsageError, recipe.refusals_of(known["samples"]) if known else ()))
    if options.plan:
        show_plan(request, recipe, store, how)
        return 0

    from jobs.engine.curation.curating import curate  # here: what answers before a run waits for no page

    session = Session(
        store,
        how,
        max_errors=recipe.max_errors,
        max_unreadable=recipe.max_unreadable,
        reading=settings,
        retry_errors=options.retry_errors,
        command=as_typed("curate", argv),
    )
    curate(Asked(request, recipe, *out), session)
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
