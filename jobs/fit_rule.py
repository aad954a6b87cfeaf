"""Fit InstructMining's rule to your models: many small fine-tunes, and least squares of their loss on indicators.

    winnow fit-rule alpaca.jsonl dolly.jsonl --heldout heldout.jsonl --out rules/qwen train.base.name=/models/base
    winnow fit-rule pool --heldout h.jsonl --out rules/r source=category indicators=rew,len_out,mtld
    winnow curate instructmining data.jsonl --out out/i rule=rules/qwen/rule.json

Each set of samples is a random mixture of the sources. The fields are those of the indicators (reward.model.name,
unieval.model.name, ...), of the training (train.base.name, ...), and subsets, samples, source, indicators and chosen.
The folder gets rule.json, fit_runs.parquet, report.html and manifest.yaml. A fit that was stopped goes on where it was.
"""

import sys
from collections.abc import Sequence
from functools import partial

from jobs.engine.terminal.arguments import INPUTS_AND_FIELDS, parsed, reading_options, shared_options
from jobs.engine.terminal.errors import UsageError
from jobs.engine.terminal.parser import Parser
from jobs.engine.terminal.program import exit_code, fields_and_others, program
from jobs.engine.terminal.screen import say


def arguments() -> Parser:
    parser = Parser(
        prog=program("fit_rule"),
        description="Fit InstructMining's rule.",
        parents=[shared_options("--store", "--profile", required=["--out"]), reading_options()],
    )
    parser.add_argument("words", **INPUTS_AND_FIELDS)
    parser.add_argument("--heldout", required=True, metavar="FILE", help="the samples whose loss the rule predicts")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    options = parsed(arguments(), argv)

    from jobs.engine.command.prepared import prepared
    from jobs.methods.instructmining.fitting import checked_fit, fit_rule

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
