"""Training pairs for DEITA's scorers: a model evolves seeds of a corpus, and a judge rates the variants together.

    winnow evolve complexity data.jsonl --out out/complexity rewriter.model.name=/models/qwen
    winnow evolve quality data.jsonl --out out/quality judge.model.name=gpt-4o-mini judge.endpoint=https://...

2,000 seeds are drawn at random. Each is evolved in 5 steps, and a method is drawn for every step: an instruction
becomes more complex, or a response better, than the one before. The judge sees the six variants together, in a random
order, and scores them from 1 to 6. If a score is missing, it is asked again in another order, up to twice. A variant
without a score is left out, and so is a seed with fewer than four scored variants. pairs.jsonl has one line per scored
variant, with its seed, step, method and remarks (unchanged, leaked, refused, other_script). manifest.yaml has the
counts of all of them. Only the first turn of a conversation is evolved. After a stop the same command goes on and asks
nothing twice; `--retry-errors` asks again what failed. (Liu et al. 2024, arXiv 2312.15685, sections 2.2 and 2.3.)
"""

import sys
from collections.abc import Sequence
from functools import partial

from jobs.engine.terminal.arguments import INPUTS_AND_FIELDS, parsed, reading_options, shared_options
from jobs.engine.terminal.errors import NothingSelected, UsageError
from jobs.engine.terminal.parser import Parser
from jobs.engine.terminal.program import exit_code, fields_and_others, program
from jobs.engine.terminal.screen import say


def arguments() -> Parser:
    parser = Parser(
        prog=program("evolve"),
        description="Make training pairs for DEITA's scorers.",
        parents=[shared_options("--store", "--profile", "--retry-errors", required=["--out"]), reading_options()],
    )
    parser.add_argument("dimension", help="what the scorer is to score: complexity or quality")
    parser.add_argument("words", **INPUTS_AND_FIELDS)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    options = parsed(arguments(), argv)

    from jobs.engine.command.prepared import prepared
    from jobs.methods.evolution.declaration import checked_evolution
    from jobs.methods.evolution.evolving import evolve

    overrides, inputs = fields_and_others(options.words)
    if not inputs:
        raise UsageError(f"name what to evolve: {program('evolve')} {options.dimension} FILE... --out FOLDER")
    asked = partial(checked_evolution, options.dimension, overrides)
    wanted, out, session = prepared("evolve", options, argv, inputs, asked)
    counts = evolve(wanted, inputs, out, session)
    say(f"evolve: {counts['drawn']:,} seeds drawn: {_listed(counts)}")
    say(f"{out}/pairs.jsonl holds {counts['pairs']:,} pairs; {out}/manifest.yaml counts every step")
    if not counts["pairs"]:
        raise NothingSelected(f"no variant has a score; {out}/manifest.yaml says why")
    return 0


def _listed(counts: dict) -> str:
    aside = {name: counts[name] for name in ("unusable", "repeated")}
    return ", ".join(f"{number:,} {name.replace('_', ' ')}" for name, number in {**aside, **counts["seeds"]}.items())


if __name__ == "__main__":
    sys.exit(exit_code(main))
