"""Train one of DEITA's scorers on texts with scores: a language model that writes the score after a filled template.

    winnow train_scorer out/complexity/pairs.jsonl --out scorers/complexity finetune.base.name=/models/base
    winnow train_scorer released.jsonl --out scorers/quality --settings scorer.json finetune.lora.rank=64

The pairs are those that jobs.evolve writes: an instruction, a response if quality is scored, and a score. They may also
have the released form: a conversation of the filled template and the score, for which --settings gives the template.
The loss is computed on the token of the score alone, without roles or an end-of-sequence token. Pairs whose score would
be cut off are left out and counted. Equal pairs count once. The folder gets a whole model (an adapter is merged into
its base), scorer.json, with which operators.scoring.scorer.Scorer reads it, losses.jsonl and manifest.yaml.

The defaults are those of the released training script (Liu et al. 2024, arXiv 2312.15685): Mistral-7B, all weights,
6 epochs, batches of 512, a learning rate of 2e-5 with a cosine schedule after a warm-up of 10 %, 2,048 tokens. The
templates are our own.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.engine.terminal.arguments import parsed, shared_options
from jobs.engine.terminal.errors import UsageError, WinnowError, together
from jobs.engine.terminal.parser import Parser
from jobs.engine.terminal.program import as_typed, exit_code, fields_and_others, program
from jobs.engine.terminal.screen import say

if TYPE_CHECKING:
    from jobs.engine.execute.session import Session
    from jobs.engine.store.folder import Folder
    from jobs.methods.scorer_training import ScorerTraining


def arguments() -> Parser:
    parser = Parser(
        prog=program("train_scorer"),
        description="Train one of DEITA's scorers.",
        parents=[shared_options("--store", "--profile", required=["--out"])],
    )
    parser.add_argument("words", nargs="+", metavar="PAIRS field=value", help="a .jsonl file of pairs, and fields")
    parser.add_argument("--settings", type=Path, help="a scorer.json with the exact template and labels")
    return parser


def train(wanted: ScorerTraining, file: str, out: Folder, session: Session) -> dict[str, Any]:
    """Trains on the pairs in a file, by its path or URL, and writes the scorer into `out`.

    Returns the entry of the training in the log.

    UsageError if `out` holds another run, or if a line is not a pair.
    """

    from jobs.engine.execute.starting import started
    from jobs.engine.outcome.manifest import claimed, ending, write_manifest
    from jobs.engine.pool.pool import Pool
    from jobs.engine.record.declarations import plain
    from jobs.engine.train.checkpoints import write_checkpoint
    from jobs.engine.train.whole_model import whole_model
    from jobs.methods.scorer_training import records, written_records
    from operators.scoring.scorer import SETTINGS

    began = time.monotonic()
    template = wanted.template or ""
    pairs = written_records(records(file, template, wanted.labels), session.store.folder.inner("pairs"))
    with started(session, {"training": wanted.finetune}):
        pool = Pool.of([pairs], session)
        if pool.facts["quarantined"]:
            raise WinnowError(f"{pool.facts['quarantined']:,} pairs cannot be read; see {pool.folder}/quarantine.jsonl")
        run = {"recipe": "train_scorer", "inputs": [file], "fields": plain(wanted)}
        identity = claimed("winnow_scorer", run, pool, out)
        checkpoints = pool.train(wanted.finetune)
        whole = whole_model(wanted.finetune, checkpoints[-1])
        settings = {"template": template, "labels": list(wanted.labels)}
        written = json.dumps(settings, indent=1, ensure_ascii=False).encode() + b"\n"
        write_checkpoint(checkpoints[-1], out, whole, {SETTINGS: written})
    manifest = {
        **identity,
        "counts": {"pairs": pool.facts["records"], "equal": pool.facts["duplicates"]},
        "checkpoints": [checkpoint.name for checkpoint in checkpoints],
        **ending(session, began),
    }
    write_manifest(out, manifest)
    say(f"pairs: {pool.facts['records']:,} read, {pool.facts['duplicates']:,} of them equal to an earlier one")
    return session.log[-1]


def main(argv: Sequence[str] | None = None) -> int:
    options = parsed(arguments(), argv)

    from jobs.engine.command.places import out_folder, store_at
    from jobs.engine.command.taken import refuse_other_run
    from jobs.engine.execute.profile import profile
    from jobs.engine.execute.session import Session
    from jobs.engine.record.declarations import plain
    from jobs.methods.scorer_training import checked_training

    overrides, files = fields_and_others(options.words)
    if len(files) != 1:
        raise UsageError(f"name one file of pairs: {program('train_scorer')} PAIRS.jsonl --out FOLDER")
    how, store, wanted, out = together(
        [
            partial(profile, options.profile),
            partial(store_at, options.store),
            partial(checked_training, options.settings, overrides, files[0]),
            partial(out_folder, options.out, options.store, files),
        ]
    )
    session = Session(store, how, command=as_typed("train_scorer", argv))
    refuse_other_run(out, "train_scorer", files, plain(wanted), session)
    trained = train(wanted, files[0], out, session)
    say(f"{out} holds the scorer after epoch {wanted.finetune.epochs}; {trained['folder']} holds every epoch")
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
