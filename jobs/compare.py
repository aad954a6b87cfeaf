"""Several recipes over one corpus, beside random selections: overlap, coverage, cost, and held-out loss.

    winnow compare ltd deft less alpagasus data.jsonl --budget 5% --out o less.target=t.jsonl less.train.base.name=/m
    winnow compare ltd perplexity data.jsonl --out o --config recipes.yaml --finetune /models/base --heldout h.jsonl

A file recipes.yaml has an entry per recipe, or per setting of a recipe, by the name that the table gives it:

    ltd: {fields: {centroids: 64}}
    top: {recipe: perplexity, fields: {keep: top, loss: {model: {name: /models/base}}}}

Random selections, a random one balanced over the sources, and the longest responses are always among them. Features
are computed once for all. A field of one recipe is NAME.field=value; any other field=value is one of the comparison
(embed, topics, near, source, seeds, train, steps). The folder gets table.md, comparison.json, report.html, and a folder
for each recipe as `winnow curate` writes it. The same command with one more recipe computes only its own.
"""

import sys
from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

from jobs.engine.terminal.arguments import parsed, reading_given, reading_options, shared_options
from jobs.engine.terminal.errors import UsageError, WinnowError, together
from jobs.engine.terminal.modules import recipe_names
from jobs.engine.terminal.parser import Parser
from jobs.engine.terminal.program import as_typed, exit_code, fields_and_others, program
from jobs.engine.terminal.screen import say


def arguments() -> Parser:
    parser = Parser(
        prog=program("compare"),
        description="Compare recipes with one another and with random selections.",
        parents=[shared_options("--store", "--profile", required=["--out"]), reading_options(max_unreadable=None)],
        epilog=f"Recipes: {', '.join(recipe_names())}.",
    )
    parser.add_argument(
        "words", nargs="+", metavar="RECIPE... INPUT... NAME.field=value", help="recipes, inputs, and fields of either"
    )
    parser.add_argument("--budget", default="5%", help="how many each recipe keeps (default 5%%)")
    parser.add_argument("--config", metavar="FILE", help="a YAML file with recipes and their fields")
    parser.add_argument("--finetune", metavar="MODEL", help="the model to fine-tune on each selection")
    parser.add_argument("--heldout", metavar="FILE", help="the samples whose loss is compared after the fine-tunes")
    parser.add_argument("--skip-missing", action="store_true", help="leave out the recipes whose models are not there")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    options = parsed(arguments(), argv)

    from jobs.engine.command.config import Request
    from jobs.engine.command.places import look_at, out_folder, store_at
    from jobs.engine.execute.profile import profile
    from jobs.engine.execute.session import Session
    from jobs.engine.ingest import settings_of
    from jobs.engine.recipe.budget import budget_text
    from jobs.engine.samples.pool_folder import refuse_reading_again
    from jobs.methods.comparison.contenders import checked, contenders, entries_in, settings
    from jobs.methods.comparison.outcome import claim, compared, look_into, write
    from jobs.methods.comparison.results import Place, all_curated
    from operators.missing import ModelMissing

    if (options.finetune is None) != (options.heldout is None):
        raise UsageError("--finetune MODEL and --heldout FILE go together: the loss of what, after training what")
    overrides, words = fields_and_others(options.words)
    entries = entries_in(options.config)
    known = {*recipe_names(), *entries}
    named, inputs = [each for each in words if each in known], [each for each in words if each not in known]
    if not inputs or not (named or entries):
        raise UsageError(f"name recipes and what to select from: {program('compare')} RECIPE... FILE... --out FOLDER")
    budget = _budget(budget_text, options.budget)
    reading = {"answers": "needed", **reading_given(options)}
    names = {*named, *entries, "balanced", "longest"}
    own = [each for each in overrides if each.partition(".")[0] in names]
    _refuse_of_others(overrides, names)
    wanted = settings([each for each in overrides if each not in own], options.finetune)
    shared = Request(inputs=tuple(inputs), fields={"budget": budget}, reading=reading)
    taking_part = contenders(named, entries, wanted, shared, own)
    how, store, (recipes, left_out), _, _, out = together(
        [
            partial(profile, options.profile),
            partial(store_at, options.store),
            partial(checked, taking_part, (ModelMissing,) if options.skip_missing else ()),
            partial(look_at, inputs),
            partial(look_at, [options.heldout] if options.heldout else []),
            partial(out_folder, options.out, options.store, inputs),
        ]
    )
    for name, why in left_out.items():
        say(f"{name} is left out: {why}")
    refuse_reading_again(inputs, settings_of(reading))
    asked = {"inputs": inputs, "budget": budget, "reading": reading, "recipes": [each.name for each in taking_part]}
    claim(out, asked)
    session = Session(
        store,
        how,
        max_errors=wanted.max_errors,
        reading=settings_of(reading),
        command=as_typed("compare", argv),
    )
    if options.heldout:
        look_into(options.heldout, session)
    place = Place(out, session, tuple(inputs))
    results, failed = all_curated(taking_part, recipes, place)
    if not results:
        raise WinnowError("every recipe failed: " + "; ".join(f"{name}: {why}" for name, why in failed.items()))
    rows, overlaps, notes = compared(results, wanted, place, options.heldout)
    whys = {**left_out, **failed}
    listed = [rows.get(each.name) or {"name": each.name, "why": whys[each.name]} for each in taking_part]
    write(place, listed, overlaps, notes, asked)
    say(f"{out}/table.md has the table of {len(rows)} selections, and {out}/report.html shows it")
    return 1 if failed or any("fine_tune_failed" in row for row in rows.values()) else 0


def _refuse_of_others(overrides: Sequence[str], names: Collection[str]) -> None:
    """UsageError for a field of a recipe that takes no part, and for the budget as a field."""
    for each in overrides:
        name = each.partition("=")[0].partition(".")[0]
        if name in recipe_names() and name not in names:
            raise UsageError(f"{each}: {name} is not among the recipes that are compared")
        if name == "budget":
            raise UsageError(f"{each}: all recipes have one budget: write --budget {each.partition('=')[2]}")


def _budget(read: Any, text: str) -> str:
    try:
        return read(text)
    except ValueError as error:
        raise UsageError(f"--{error}") from None


if __name__ == "__main__":
    sys.exit(exit_code(main))
