"""Fit InstructMining's rule to your models: many small fine-tunes, and least squares of their loss on indicators.

    winnow fit-rule alpaca.jsonl dolly.jsonl --heldout heldout.jsonl --out rules/qwen train.base.name=/models/base
    winnow fit-rule pool --heldout h.jsonl --out rules/r source=category indicators=rew,len_out,mtld
    winnow curate instructmining data.jsonl --out out/i rule=rules/qwen/rule.json

Each set of samples is a random mixture of the sources. The fields are those of the indicators (reward.model.name,
unieval.model.name, ...), of the training (train.base.name, ...), and subsets, samples, source, indicators and chosen.
The folder gets rule.json, fit_runs.parquet, report.html and manifest.yaml. A fit that was stopped goes on where it was.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

from jobs.engine.terminal.arguments import INPUTS_AND_FIELDS, parsed, reading_options, shared_options
from jobs.engine.terminal.errors import UsageError
from jobs.engine.terminal.parser import Parser
from jobs.engine.terminal.program import exit_code, fields_and_others, program
from jobs.engine.terminal.screen import say

if TYPE_CHECKING:
    from jobs.engine.execute.session import Session
    from jobs.engine.pool.subset import Subset
    from jobs.engine.store.folder import Folder
    from jobs.methods.instructmining.rule_fitting import Fitted, RuleFit, Run


def arguments() -> Parser:
    """The parser of the command line."""
    parser = Parser(
        prog=program("fit_rule"),
        description="Fit InstructMining's rule.",
        parents=[shared_options("--store", "--profile", required=["--out"]), reading_options()],
    )
    parser.add_argument("words", **INPUTS_AND_FIELDS)
    parser.add_argument("--heldout", required=True, metavar="FILE", help="the samples whose loss the rule predicts")
    return parser


def checked_fit(overrides: Sequence[str]) -> RuleFit:
    """The fit with its fields set by `field=value`; ModelMissing or UsageError where it cannot run."""
    from jobs.engine.command.config import configured
    from jobs.engine.recipe.steps import checked
    from jobs.methods.instructmining.rule_fitting import RuleFit

    wanted = configured(RuleFit, {}, overrides)
    checked([*wanted.operators(wanted.indicators).values(), wanted.train], wanted)
    return wanted


def fit_rule(wanted: RuleFit, inputs: Sequence[str], held_out: str, out: Folder, session: Session) -> Fitted:
    """Trains on all sets, fits the rule, and writes it into `out`. UsageError where `out` holds another run."""
    from jobs.engine.execute.starting import started
    from jobs.engine.outcome.manifest import claimed, counts, ending, wanted_of, write_manifest
    from jobs.engine.pool.pool import Pool
    from jobs.methods.held_out import HeldOut
    from jobs.methods.instructmining.indicators import measured
    from jobs.methods.instructmining.rule_fitting import doubts, fine_tuned, fitted, rule_content
    from jobs.methods.sources import Sources

    began = time.monotonic()
    with started(session, {**wanted.operators(wanted.indicators), "training": wanted.train}):
        pool = Pool.of(inputs, session)
        run = wanted_of("fit_rule", inputs, wanted, session)
        identity = claimed("winnow_rule_fit", {**run, "fields": {**run["fields"], "heldout": held_out}}, pool, out)
        deciding = HeldOut.read(pool, held_out)
        scored, facts = measured(pool, wanted, wanted.indicators)
        sources = Sources.read(scored, wanted.source)
        runs = fine_tuned(scored, sources, wanted, deciding)
    found = fitted(runs, wanted)
    correlation = length_correlation(found, scored)
    content = rule_content(found, wanted, held_out, correlation)
    doubted = list(doubts(found, correlation))
    out.write("rule.json", json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n")
    write_runs(runs, out)
    write_page(found, runs, doubted, content["provenance"], out, session)
    manifest = {
        **identity,
        "counts": counts(pool),
        "found": {**facts, "sources": len(sources.names), "doubts": doubted, "left_out": list(found.constant)},
        **ending(session, began),
    }
    write_manifest(out, manifest)
    for doubt in doubted:
        say(f"beware: {doubt}")
    return found


def length_correlation(found: Fitted, scored: Subset) -> float | None:
    """Spearman's correlation of the samples' predicted loss with the tokens of their responses; None without these."""
    import numpy as np

    from operators.kernels.correlation import spearman

    if "len_out" not in scored.columns:
        return None
    terms = [each.value * scored.values(name) for name, each in found.rule.coefficients.items()]
    correlation = spearman(np.sum(terms, axis=0), scored.values("len_out"))
    return float(correlation) if np.isfinite(correlation) else None


def write_runs(runs: Sequence[Run], out: Folder) -> None:
    """Writes fit_runs.parquet. A row has a set's number, loss, means of the indicators and shares of the sources."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    shares = [[{"source": name, "share": share} for name, share in sorted(run.shares.items())] for run in runs]
    rows = [{**asdict(run), "shares": each} for run, each in zip(runs, shares, strict=True)]
    table = pa.Table.from_pylist(rows)
    with out.writing("fit_runs.parquet") as file:
        pq.write_table(table, file)


def write_page(
    found: Fitted, runs: Sequence[Run], doubted: Sequence[str], provenance: str, out: Folder, session: Session
) -> None:
    """Writes the report of the fit."""
    import numpy as np

    from jobs.engine.report.rule_page import write_rule_page

    write_rule_page(
        out,
        rule=found.rule,
        fits=found.fits,
        means={name: np.array([run.means[name] for run in runs]) for name in runs[0].means},
        losses=np.array([run.loss for run in runs]),
        doubts=doubted,
        left_out=found.constant,
        summary=provenance,
        command=session.command,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns the exit code."""
    options = parsed(arguments(), argv)

    from jobs.engine.command.prepared import prepared

    overrides, inputs = fields_and_others(options.words)
    if not inputs:
        raise UsageError(f"name what to train on: {program('fit_rule')} FILE... --heldout FILE --out FOLDER")
    besides = {"heldout": options.heldout}
    wanted, out, session = prepared("fit_rule", options, argv, inputs, partial(checked_fit, overrides), besides=besides)
    found = fit_rule(wanted, inputs, options.heldout, out, session)
    shown = " ".join(f"{each.value:+.4g} {name}" for name, each in found.rule.coefficients.items())
    say(f"log loss = {found.rule.constant.value:.4g} {shown}; adjusted R² {found.rule.adjusted:.3f}")
    say(f"{out}/rule.json holds the rule, and {out}/report.html shows it")
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
