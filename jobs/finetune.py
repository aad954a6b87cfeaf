"""Fine-tune a model on raw files, a pool, or what a run has selected.

    winnow finetune out/ltd/selected.jsonl --out models/ltd base.name=/models/base
    winnow finetune data.jsonl --out models/all base.name=/models/base lora=none template=alpaca epochs=3

The fields are those of a training run: base, lora (none: all weights are trained), template, epochs, batch,
learning_rate … The output folder gets the last epoch's model, its tokenizer, losses.jsonl and manifest.yaml. The store
keeps all epochs. After a stop, the same command continues after the last whole epoch.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from jobs.engine.terminal.arguments import INPUTS_AND_FIELDS, parsed, reading_options, shared_options
from jobs.engine.terminal.errors import UsageError
from jobs.engine.terminal.parser import Parser
from jobs.engine.terminal.program import exit_code, fields_and_others, program
from jobs.engine.terminal.screen import say

if TYPE_CHECKING:
    from jobs.engine.execute.session import Session
    from jobs.engine.store.folder import Folder
    from operators.training.finetune import Finetune


def arguments() -> Parser:
    parser = Parser(
        prog=program("finetune"),
        description="Fine-tune a model on samples.",
        parents=[shared_options("--store", "--profile", required=["--out"]), reading_options()],
    )
    parser.add_argument("words", **INPUTS_AND_FIELDS)
    return parser


def trainer(overrides: Sequence[str]) -> Finetune:
    """The training run with its fields set by `field=value`; UsageError names a field that is wrong or missing."""
    from jobs.engine.command.config import configured
    from operators.training.finetune import Finetune

    if not any(override.startswith("base.name=") for override in overrides):
        raise UsageError("name the model to start from: base.name=FOLDER, or a hub id")
    return configured(Finetune, {}, overrides)


def checked_trainer(overrides: Sequence[str]) -> Finetune:
    """As `trainer`; ModelMissing where the model that it starts from is not there."""
    wanted = trainer(overrides)
    wanted.check()
    return wanted


def finetune(wanted: Finetune, inputs: Sequence[str], out: Folder, session: Session) -> dict[str, Any]:
    """Trains on all samples of the inputs and writes the last epoch's model into `out`.

    Returns the log's entry of the training. UsageError where `out` holds another run.
    """

    from jobs.engine.execute.starting import started
    from jobs.engine.outcome.manifest import claimed, counts, ending, wanted_of, write_manifest
    from jobs.engine.pool.pool import Pool
    from jobs.engine.train.checkpoints import write_checkpoint

    began = time.monotonic()
    with started(session, {"training": wanted}):
        pool = Pool.of(inputs, session)
        identity = claimed("winnow_training", wanted_of("finetune", inputs, wanted, session), pool, out)
        checkpoints = pool.train(wanted, afterwards="go on")
    write_checkpoint(checkpoints[-1], out)
    manifest = {
        **identity,
        "counts": counts(pool),
        "checkpoints": [checkpoint.name for checkpoint in checkpoints],
        **ending(session, began),
    }
    write_manifest(out, manifest)
    return session.log[-1]


def main(argv: Sequence[str] | None = None) -> int:
    options = parsed(arguments(), argv)

    from jobs.engine.command.prepared import prepared

    overrides, inputs = fields_and_others(options.words)
    if not inputs:
        raise UsageError(f"name what to train on: {program('finetune')} FILE... --out FOLDER base.name=MODEL")
    asked = partial(checked_trainer, overrides)
    wanted, out, session = prepared(
        "finetune", options, argv, inputs, asked, unanswered=lambda wanted: wanted.labels is not None
    )
    trained = finetune(wanted, inputs, out, session)
    say(f"{out} holds the model after epoch {wanted.epochs}; {trained['folder']} holds every epoch")
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
