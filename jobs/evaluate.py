"""How well a model predicts held-out responses, or a classifier their labels: overall and for each file.

    winnow evaluate models/ltd held_out.jsonl --out ltd.json
    winnow evaluate /models/base held_out.jsonl other.jsonl template=alpaca max_tokens=512

The loss is the negative log-likelihood per token of the responses (nats), and perplexity is its exponential. The
interval holds 95 % of the values that samples drawn again would give (bootstrap over samples). For a classifier, the
results are the loss of the class and the accuracy of classes and slots.

MODEL is a model, or an adapter that jobs.finetune wrote. Its samples are in the template that it was trained with,
unless a field says otherwise. The results of two models are comparable where template, tokenizer and max_tokens are the
same.
"""

import json
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

from jobs.engine.terminal.arguments import INPUTS_AND_FIELDS, parsed, reading_given, reading_options, shared_options
from jobs.engine.terminal.errors import UsageError, together
from jobs.engine.terminal.parser import Parser
from jobs.engine.terminal.program import as_typed, exit_code, fields_and_others, program
from jobs.engine.terminal.screen import say, show


def arguments() -> Parser:
    parser = Parser(
        prog=program("evaluate"),
        description="Held-out loss and perplexity.",
        parents=[shared_options("--store", "--profile"), reading_options()],
    )
    parser.add_argument("model", help="a folder or hub id of a model, or the folder of an adapter")
    parser.add_argument("words", **INPUTS_AND_FIELDS)
    parser.add_argument("--out", help="the JSON file to write, or its URL")
    return parser


def _show(facts: dict[str, Any], level: float) -> None:
    """Prints one line per result; a source's counts are beside the first of its results."""

    def written(value: float | None) -> str:
        return "over 1e308" if value is None else f"{value:,.4g}"

    rows = []
    for source, found in {"all": facts["overall"], **facts["sources"]}.items():
        counts = [source, f"{found['samples']:,}", f"{found['tokens']:,}"]
        for name, value in found.items():
            if isinstance(value, dict):
                estimate, low, high = map(written, value.values())
                rows.append([*counts, name, estimate, f"{low}–{high}"])
                counts = ["", "", ""]
    show("", ["source", "samples", "tokens", "", "estimate", f"{level:.0%} interval"], rows)


def main(argv: Sequence[str] | None = None) -> int:
    options = parsed(arguments(), argv)

    from jobs.engine.command.places import look_at, store_at
    from jobs.engine.execute.profile import profile
    from jobs.engine.execute.session import Session
    from jobs.engine.ingest import settings_of
    from jobs.engine.outcome.evaluation import checked, evaluated, out_evaluation
    from operators.losses.class_error import ClassError
    from operators.losses.loss import Loss
    from operators.positions import sample_tokens

    overrides, inputs = fields_and_others(options.words)
    if not inputs:
        raise UsageError(f"name what to evaluate on: {program('evaluate')} MODEL FILE...")
    how, store, (wanted, operator), _, *out = together(
        [
            partial(profile, options.profile),
            partial(store_at, options.store),
            partial(checked, options.model, overrides),
            partial(look_at, inputs),
            *([partial(out_evaluation, options.out, inputs)] if options.out else []),
        ]
    )
    answers = "optional" if isinstance(operator, ClassError) else "needed"
    session = Session(
        store,
        how,
        max_errors=wanted.max_errors,
        max_unreadable=options.max_unreadable,
        reading=settings_of({"answers": answers, **reading_given(options)}),
    )
    facts = evaluated(operator, wanted, inputs, session)
    shown = f"template {wanted.template}, " if isinstance(operator, Loss) else ""
    limit = sample_tokens(operator.model.config(), wanted.max_tokens, operator.model.name)
    say(
        f"evaluate: {shown}{limit:,} tokens; "
        f"{facts['without_loss']:,} without a loss, {facts['overall']['truncated']:,} cut"
    )
    _show(facts, wanted.level)
    for folder, name in out:
        folder.make()
        content = {"model": options.model, **facts, "command": as_typed("evaluate", argv)}
        folder.write(name, json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n")
        say(f"{options.out} holds these numbers")
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
