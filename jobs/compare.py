"""Several recipes over one corpus, beside random selections: overlap, coverage, cost, and held-out loss.

    winnow compare ltd deft less alpagasus data.jsonl --budget 5% --out o less.target=t.jsonl less.train.base.name=/m
    winnow compare ltd perplexity data.jsonl --out o --config recipes.yaml --finetune /models/base --heldout h.jsonl

A file recipes.yaml has an entry per recipe, or per setting of a recipe, by the name that the table gives it:

    ltd: {fields: {centroids: 64}}
    top: {recipe: perplexity, fields: {keep: top, loss.model.name: /models/base}}

Random selections, a random one balanced over the sources, and the longest responses are always among them. Features
are computed once for all. A field of one recipe is NAME.field=value; any other field=value is one of the comparison
(embed, topics, near, source, seeds, train, steps). The folder gets table.md, comparison.json, report.html, and a folder
for each recipe as `winnow curate` writes it. The same command with one more recipe computes only its own.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from jobs.engine.terminal.arguments import reading_given, reading_options, shared_options, words_of
from jobs.engine.terminal.errors import NothingSelected, UsageError, WinnowError, first_line, together
from jobs.engine.terminal.modules import recipe_names
from jobs.engine.terminal.program import as_typed, exit_code, fields_and_others, program
from jobs.engine.terminal.screen import say

if TYPE_CHECKING:
    from jobs.engine.execute.session import Session
    from jobs.engine.recipe.recipe import Recipe
    from jobs.engine.store.folder import Folder
    from jobs.methods.comparison.contenders import Comparison, Contender
    from jobs.methods.comparison.results import Result

FILE = "comparison.json"


def arguments() -> argparse.ArgumentParser:
    """The parser of the command line."""
    parser = argparse.ArgumentParser(
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


@dataclass(frozen=True)
class Place:
    """What every recipe of a comparison shares."""

    out: Folder
    session: Session
    """The session of the comparison; each recipe has one of its own, with the same store."""
    inputs: tuple[str, ...]


def curated(each: Contender, recipe: Recipe, place: Place) -> Result:
    """The selection of a contender, from its folder or computed now. Any error of the recipe is raised."""
    from dataclasses import replace

    from jobs.curate import curate
    from jobs.engine.command.asked import Asked
    from jobs.methods.comparison.results import Result

    out = place.out.inner(each.name)
    limits = {"max_errors": recipe.max_errors, "max_unreadable": recipe.max_unreadable}
    session = replace(place.session, log=[], **limits)
    try:
        curate(Asked(each.request, recipe, out), session)
    except NothingSelected as error:
        say(f"{each.name}: {error}")
    return Result.read(out)


def all_curated(
    taking_part: Sequence[Contender], recipes: Mapping[str, Recipe], place: Place
) -> tuple[dict[str, Result], dict[str, str]]:
    """The selections by name, and why each of the others has none. One that fails does not end those after it."""
    results, failed = {}, {}
    for each in taking_part:
        if each.name not in recipes:
            continue
        say(f"--- {each.name}")
        try:
            results[each.name] = curated(each, recipes[each.name], place)
        except Exception as error:  # noqa: BLE001 - whatever fails in one recipe must not cost the others' results
            failed[each.name] = first_line(error)
            say(f"{each.name} failed: {failed[each.name]}")
    return results, failed


def compared(
    results: Mapping[str, Result], wanted: Comparison, place: Place, held_out: str | None
) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, float]], list[str]]:
    """The rows of the selections by name, their overlaps, and notes. Nothing is computed that the store has."""
    from jobs.engine.pool.pool import Pool
    from jobs.engine.store.lock import locked
    from jobs.methods.comparison.costs import computed, cost
    from jobs.methods.comparison.measures import Measures
    from jobs.methods.comparison.results import overlap

    known = computed(result.manifest for result in results.values())
    rows: dict[str, dict[str, Any]] = {}
    with locked(place.session.store.url, say):
        pool = Pool.of(place.inputs, place.session)
        measures = Measures(pool, wanted)
        for name, result in results.items():
            spent = cost(result.manifest, known)
            correlation = result.manifest["found"].get("rank correlation with response length")
            rows[name] = {
                "name": name,
                "kept": len(result.kept),
                **measures.of(result),
                "length_correlation": correlation,
                "seconds": spent.seconds,
                "complete": spent.complete,
                "passes": spent.passes,
                "tokens": spent.passes * measures.tokens,
            }
        notes = _trained(pool, results, wanted, held_out, rows) if held_out else []
        overlaps = {
            one: {other: overlap(results[one], results[other], pool.samples) for other in results} for one in results
        }
    return rows, overlaps, notes


def _trained(
    pool: Any, results: Mapping[str, Result], wanted: Comparison, held_out: str, rows: dict[str, dict[str, Any]]
) -> list[str]:
    """Adds the held-out losses to the rows. Returns why some have none."""
    from jobs.engine.execute.session import connect
    from jobs.methods.comparison.losses import fine_tuned
    from jobs.methods.held_out import HeldOut

    connect(pool.session.profile, pool.session.store.folder)
    found, without = fine_tuned(pool, results, wanted, HeldOut.read(pool, held_out))
    for name, row in found.rows().items():
        rows[name].update(row)
    return [f"{name}: not fine-tuned: {why}" for name, why in without.items()]


def write(
    place: Place,
    rows: Sequence[Mapping[str, Any]],
    overlaps: Mapping[str, Mapping[str, float]],
    notes: Sequence[str],
    asked: Mapping[str, Any],
) -> None:
    """Writes the table, the page, and the JSON, which is the last."""
    from jobs.engine.report.comparison_page import write_comparison_page
    from jobs.methods.comparison.table import cells, markdown, shown_columns

    done = [row for row in rows if "why" not in row]
    columns = shown_columns(done)
    place.out.write("table.md", markdown(rows, overlaps, notes).encode())
    write_comparison_page(
        place.out,
        summary=f"{', '.join(place.inputs)}: budget {asked['budget']}",
        headings=["method", *(each.heading for each in columns)],
        rows=[[row["name"], *cells(row, columns)] for row in done],
        meanings=[(each.heading, each.meaning) for each in columns],
        overlaps=overlaps,
        losses={row["name"]: (row["loss"], row["loss_low"], row["loss_high"]) for row in done if "loss" in row},
        notes=[*notes, *(f"{row['name']}: not compared: {row['why']}" for row in rows if "why" in row)],
        command=place.session.command,
    )
    content = {"winnow_comparison": 1, "asked": asked, "rows": rows, "overlaps": overlaps, "notes": notes}
    place.out.write(FILE, json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n")


def claim(out: Folder, asked: Mapping[str, Any]) -> None:
    """Takes the folder for a comparison. UsageError where it holds something else, or other inputs or settings."""
    if not out.exists(FILE) and out.exists() and out.names():
        raise UsageError(f"{out} is not empty and holds no comparison; give another --out")
    before = json.loads(out.content(FILE))["asked"] if out.exists(FILE) else asked
    other = [key for key in ("inputs", "budget", "reading") if before.get(key) != asked[key]]
    if other:
        shown = "; ".join(f"{key} {before.get(key)!r} there, {asked[key]!r} now" for key in other)
        raise UsageError(f"{out} holds another comparison ({shown}); give another --out")
    if not out.exists(FILE):
        out.make()
        out.write(FILE, json.dumps({"winnow_comparison": 1, "asked": asked}).encode())


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns the exit code."""
    options = arguments().parse_intermixed_args(words_of(argv))

    from jobs.engine.command.config import Request
    from jobs.engine.command.places import look_at, out_folder, store_at
    from jobs.engine.execute.profile import profile
    from jobs.engine.execute.session import Session
    from jobs.engine.ingest import settings_of
    from jobs.engine.recipe.budget import budget_text
    from jobs.methods.comparison.contenders import checked, contenders, entries_in, settings
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
    asked = {"inputs": inputs, "budget": budget, "reading": reading, "recipes": [each.name for each in taking_part]}
    claim(out, asked)
    session = Session(
        store,
        how,
        max_errors=wanted.max_errors,
        reading=settings_of(reading),
        command=as_typed("compare", argv),
    )
    place = Place(out, session, tuple(inputs))
    results, failed = all_curated(taking_part, recipes, place)
    if not results:
        raise WinnowError("every recipe failed: " + "; ".join(f"{name}: {why}" for name, why in failed.items()))
    rows, overlaps, notes = compared(results, wanted, place, options.heldout)
    whys = {**left_out, **failed}
    listed = [rows.get(each.name) or {"name": each.name, "why": whys[each.name]} for each in taking_part]
    write(place, listed, overlaps, notes, asked)
    say(f"{out}/table.md has the table of {len(rows)} selections, and {out}/report.html shows it")
    return 1 if failed else 0


def _budget(read: Any, text: str) -> str:
    try:
        return read(text)
    except ValueError as error:
        raise UsageError(f"--{error}") from None


if __name__ == "__main__":
    sys.exit(exit_code(main))
