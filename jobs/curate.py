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
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from jobs.engine.terminal.arguments import parsed, reading_given, reading_options, shared_options
from jobs.engine.terminal.errors import NothingSelected, UsageError, refuse, together
from jobs.engine.terminal.modules import recipe_names
from jobs.engine.terminal.order import refuse_without_recipe
from jobs.engine.terminal.parser import Parser
from jobs.engine.terminal.program import as_typed, exit_code, fields_and_others, program
from jobs.engine.terminal.screen import say

if TYPE_CHECKING:
    from jobs.engine.command.config import Asked, Request
    from jobs.engine.execute.session import Session
    from jobs.engine.outcome.outcome import Outcome
    from jobs.engine.pool.pool import Pool
    from jobs.engine.recipe.recipe import Recipe
    from jobs.engine.store.store import Store


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


def curate(asked: Asked, session: Session) -> None:
    """Runs a request from start to end, unless its folder holds its outcome already, and says what came out."""
    from jobs.engine.command.taken import refuse_other_run
    from jobs.engine.outcome.earlier import finished
    from jobs.engine.outcome.ledger import KEPT, STATES

    out, run = asked.out, asked.run()
    earlier = None if session.retry_errors else finished(run, out, session)
    if earlier:
        say(f"{out} holds this very run, finished {earlier['finished']}: 0 samples to compute, nothing to decide")
        counts = {state: earlier["counts"][state] for state in STATES}
    else:
        refuse_other_run(out, asked.name, asked.request.inputs, run["fields"], session)
        counts = selected(asked, session).counts
    say(f"{asked.name}: {', '.join(f'{number:,} {state}' for state, number in counts.items())}")
    say(f"{out}/selected.jsonl holds the kept records, best first; {out}/report.html shows them")
    if not counts[KEPT]:
        raise NothingSelected(f"the recipe kept none; {out}/selection.parquet says why")


def selected(asked: Asked, session: Session) -> Outcome:
    """Opens the pool, selects with the recipe, and writes everything into the folder, the manifest last.

    The store is locked until all is written: another run would merge the parts that the ledger is made of.
    """
    from jobs.engine.execute.model_room import refuse_without_room
    from jobs.engine.execute.starting import started
    from jobs.engine.outcome.manifest import ending, write_manifest
    from jobs.engine.outcome.outcome import desk, written
    from jobs.engine.pool.pool import Pool
    from jobs.engine.report.card import write_card
    from jobs.engine.report.report import write_report

    with started(session, asked.recipe.steps()):
        began = time.monotonic()  # a recipe's seconds are neither those of another run's lock nor of Ray's start
        refuse_without_room(unstored(asked.recipe.steps(), session.store), session)
        pool, identity = opened(asked, session)
        chosen = asked.recipe.select(asked.recipe.counted(pool))
        chosen = dataclasses.replace(chosen, facts={**chosen.facts, **asked.recipe.unmet(chosen, pool.samples)})
        for name, fact in chosen.facts.items():
            say(f"{name}: {_worded(fact)}")
        with desk(asked.out, session) as at:
            outcome = written(chosen, Pool.open(chosen.folder, session), identity, at)
            outcome = dataclasses.replace(outcome, manifest={**outcome.manifest, **ending(session, began)})
            write_report(outcome)
            write_card(outcome)
        write_manifest(asked.out, outcome.manifest)
    return outcome


def unstored(steps: Mapping[str, Any], store: Store) -> dict[str, Any]:
    """The operators and trainers of which the store has nothing, so that the run has to load their models."""
    from jobs.engine.train.checkpoints import has_trainings
    from operators.base import Operator
    from operators.training.finetune import Finetune

    return {
        name: step
        for name, step in steps.items()
        if (isinstance(step, Operator) and not store.known(step))
        or (isinstance(step, Finetune) and not has_trainings(store))
    }


def opened(asked: Asked, session: Session) -> tuple[Pool, dict[str, Any]]:
    """The pool of the inputs, and what its manifest begins with, which is in the folder from now on.

    UsageError where the folder holds another run; NothingSelected where the pool has no sample.
    """
    from jobs.engine.outcome.manifest import claimed
    from jobs.engine.pool.pool import Pool

    pool = Pool.of(asked.request.inputs, session)
    facts = pool.facts
    identity = claimed("winnow_manifest", asked.run(), pool, asked.out)
    aside = f"{facts['duplicates']:,} duplicates, {facts['quarantined']:,} quarantined"
    say(f"pool: {facts['samples']:,} samples of {facts['records']:,} records ({aside})")
    if not pool.samples:
        inputs = ", ".join(asked.request.inputs)
        raise NothingSelected(f"no valid sample in {inputs}; see {pool.folder}/quarantine.jsonl")
    return pool, identity


def _worded(fact: Any) -> str:
    if not isinstance(fact, Mapping):
        return f"{fact:g}" if isinstance(fact, float) else f"{fact:,}" if type(fact) is int else str(fact)
    each = (
        f"{name} ({value:,})" if isinstance(value, int | float) else f"{name}: {value}" for name, value in fact.items()
    )
    return ", ".join(each) or "none"


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
