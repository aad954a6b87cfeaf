"""Does LoBaSS's normalised score depend less on the answer's length than the unnormalised one, as its paper says?

    python -m benchmarks.lobass_length [--data FILE] [--samples 1500] [--hidden 64] [--seed 0]

FILE is a JSON array or JSON lines of instruction data; by default it is the demo's corpus. `--samples` of its records
are scored, and as many others train the base. The base is a small Llama with its own tokenizer, trained for five epochs
on the others' responses as plain text. The reference is fine-tuned from it on the scored samples, for three epochs.
Prints one JSON line with Spearman's correlation between a response's number of tokens and

    normalised        1 - reference / base
    unnormalised      base - reference, of the sums; unnormalised_mean: of the means per token

The paper's correlations, for models of 2 billion weights on Alpaca, are .30 to .47 normalised and .75 to .83
unnormalised, as absolute values. A model this small shows only the direction; `as_expected` says whether it does.
"""

import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from benchmarks._made import llama, records
from benchmarks._run import options, printed
from jobs.engine.ingest import RecordFault, messages_of
from operators.base import RowError
from operators.checkpoint import Checkpoint
from operators.kernels.correlation import spearman
from operators.kernels.loss_based import learnability
from operators.losses.loss import Loss
from operators.sample import MESSAGES, Message
from operators.supervision.supervised import Supervised, Supervision, Template
from operators.training.finetune import Finetune
from operators.training.loop import train

TOKENS = 512
VOCABULARY = 4000

Conversation = list[Message]


def read(data: Path | None) -> list[Conversation]:
    """The conversations of the records, in order, without records of an unknown format."""
    found = []
    for record in records(data):
        try:
            found.append(messages_of(record)[1])
        except RecordFault:
            continue
    return found


def made_base(folder: Path, texts: Sequence[str], hidden: int, seed: int) -> None:
    """Writes a two-layer Llama with random weights, and a tokenizer trained on the texts."""
    shape = {"hidden_size": hidden, "intermediate_size": 2 * hidden, "num_attention_heads": 4}
    llama(folder, texts, VOCABULARY, seed, num_key_value_heads=4, max_position_embeddings=TOKENS, **shape)


def tokenized(folder: Path, conversations: Sequence[Conversation], template: Template) -> list[Supervised]:
    """The tokens of the conversations that have something to supervise."""
    from transformers import AutoTokenizer

    supervision = Supervision(AutoTokenizer.from_pretrained(folder), template, TOKENS)
    rows = []
    for number, messages in enumerate(conversations):
        try:
            rows.append(supervision(number, messages))
        except RowError:
            continue
    return rows


def losses(model: Path, conversations: Sequence[Conversation]) -> list[Any]:
    """The value of `Loss` for each conversation."""
    batch = pa.table({"id": range(len(conversations)), "messages": pa.array(conversations, MESSAGES)})
    return list(Loss(Checkpoint(str(model)), template="alpaca", max_tokens=TOKENS).load()(batch))


def trained(folder: Path, base: Sequence[Conversation], scored: Sequence[Conversation], hidden: int, seed: int) -> Any:
    """The folders of the base, trained on some conversations, and of the reference, fine-tuned on others."""
    random = folder / "random"
    made_base(random, [message["content"] for messages in base for message in messages], hidden, seed)
    reading = Finetune(
        Checkpoint(str(random)),
        lora=None,
        template="plain",
        max_tokens=TOKENS,
        epochs=5,
        batch=32,
        mean_over="tokens",
        learning_rate=3e-3,
        schedule="constant",
        precision="float32",
        seed=seed,
    )
    before = train(reading, tokenized(random, base, "plain"), folder / "reading")[-1]
    start = Checkpoint(str(before))
    tuning = replace(reading, base=start, template="alpaca", epochs=3, learning_rate=1e-3, schedule="cosine")
    return before, train(tuning, tokenized(random, scored, "alpaca"), folder / "tuning")[-1]


def compared(folder: Path, conversations: Sequence[Conversation], samples: int, hidden: int, seed: int) -> Any:
    """The result line: the correlations, and what they were computed on."""
    began = time.monotonic()
    order = np.random.default_rng(seed).permutation(len(conversations))
    scored, others = ([conversations[at] for at in part] for part in (order[:samples], order[samples : 2 * samples]))
    pairs = zip(*(losses(model, scored) for model in trained(folder, others, scored, hidden, seed)), strict=True)
    usable = [pair for pair in pairs if not any(isinstance(each, RowError) for each in pair)]
    columns = [
        np.array([each[at][field] for each in usable], float) for at in (0, 1) for field in ("nll_sum", "tokens")
    ]
    before, tokens, after, tokens_after = columns
    unnormalised = learnability(before, tokens, after, tokens_after, version="v1_unnormalised", reduction="sum")
    averaged = learnability(before, tokens, after, tokens_after, version="v1_unnormalised", reduction="mean")
    by_sum, by_mean = spearman(unnormalised, tokens), spearman(averaged, tokens)
    by_share = spearman(learnability(before, tokens, after, tokens_after, version="v2"), tokens)
    return {
        "benchmark": "lobass_length",
        "samples": len(usable),
        "read_before": len(others),
        "tokens": int(tokens.sum()),
        "base_loss": round(before.sum() / tokens.sum(), 3),
        "reference_loss": round(after.sum() / tokens.sum(), 3),
        "normalised": round(by_share, 3),
        "unnormalised": round(by_sum, 3),
        "unnormalised_mean": round(by_mean, 3),
        "as_expected": abs(by_share) < abs(by_sum),
        "seconds": round(time.monotonic() - began, 1),
        "load": os.getloadavg()[0],
    }


def main() -> None:
    parser = options(__doc__, samples=1500, hidden=64, seed=0, threads=1)
    parser.add_argument("--data", type=Path, help="a JSON array, or JSON lines; default: the demo's corpus")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as temporary:
        line = compared(Path(temporary), read(given.data), given.samples, given.hidden, given.seed)
    printed(line)


if __name__ == "__main__":
    main()
