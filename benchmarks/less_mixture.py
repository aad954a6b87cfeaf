"""Does LESS find the samples of a target's kind that are mixed into a corpus of other kinds?

python -m benchmarks.less_mixture [--kind cooking] [--rows 2000] [--planted 100]
python -m benchmarks.less_mixture --data alpaca.json dolly.json --kind summarization

The pool is a random draw of the first file, mixed with samples of one category of the second file. The targets are
other samples of that category. Without files, both come from the demo's corpus, and a category is one of its topics. A
small Llama starts from random weights, learns from the pool, and LESS selects 5 % of the pool with it. The ratio is the
frequency of the kind in the selection over that in the pool; it is 1 for a random selection. The second side is the
same selection by projected features, and the two rankings should agree. Prints one JSON line.
"""

import json
import random
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks._made import llama, records, say_beside
from benchmarks._run import options, printed
from jobs.engine.execute.profile import Execution, Profile
from jobs.engine.execute.session import Session, connect
from jobs.engine.pool.pool import Pool
from jobs.engine.store.store import Store
from jobs.recipes.less import LESS
from operators.checkpoint import Checkpoint
from operators.gradients.gradient import Projected
from operators.kernels.correlation import spearman
from operators.training.finetune import Finetune, LoRA

TARGETS = 36
TOKENS = 1024
CHARACTERS = 3000
"""The most characters of a record, so that its response lies within the tokens."""


def model(folder: Path, texts: list[str]) -> Checkpoint:
    """A random two-layer Llama with a tokenizer trained on the texts."""
    shape = {"hidden_size": 256, "intermediate_size": 688, "num_attention_heads": 4, "max_position_embeddings": TOKENS}
    return Checkpoint(str(llama(folder, texts, vocabulary=4000, **shape)))


def mixture(others: list[dict], wanted: list[dict], rows: int, planted: int) -> tuple[list[dict], list[dict]]:
    """The pool's records, those of the kind first, and the targets' records."""
    drawn = random.Random(0)
    drawn.shuffle(wanted)
    targets, kept = wanted[:TARGETS], wanted[TARGETS : TARGETS + planted]
    return kept + drawn.sample(others, rows - len(kept)), targets


def read(data: list[Path] | None, kind: str) -> tuple[list[dict], list[dict]]:
    """The records of other kinds, and those of the kind, from two files or from the topics of the demo's corpus."""
    if data is None:
        made = [record for record in records(None) if record["kind"] == "ordinary"]
        first = [record for record in made if record["topic"] != kind]
        second = [record for record in made if record["topic"] == kind]
    else:
        first, second = map(records, data)
        second = [record for record in second if record.get("category") == kind]
    return list(filter(short, first)), list(filter(short, second))


def short(record: dict) -> bool:
    """Whether the model can read all of a record."""
    return sum(len(record[name]) for name in ("instruction", "input", "output")) <= CHARACTERS


def main() -> None:
    parser = options(__doc__, kind="cooking", rows=2000, planted=100, steps=250)
    parser.add_argument("--data", type=Path, nargs=2, help="JSON arrays or lines; the second's have a category")
    parser.add_argument("--folder", type=Path, help="a folder to keep and to continue in; a temporary one by default")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="less"))
    others, wanted = read(given.data, given.kind)
    pool_rows, targets = mixture(others, wanted, given.rows, given.planted)
    of_kind = min(given.planted, len(wanted) - len(targets))
    for name, rows in (("pool", pool_rows), ("targets", targets)):
        (folder / f"{name}.json").write_text(json.dumps(rows, ensure_ascii=False))
    base = model(folder / "base", [f"{row['instruction']} {row['input']} {row['output']}" for row in pool_rows])
    session = Session(Store(str(folder / "store")), Profile(default=Execution(workers=2)))
    say_beside()
    connect(session.profile)
    pool = Pool.of([str(folder / "pool.json")], session)
    began = time.monotonic()
    learning = Finetune(base, lora=None, batch=32, learning_rate=3e-3, precision="float32", max_tokens=TOKENS)
    epochs = round(given.steps / learning.steps(pool.samples))
    (*_, learnt) = pool.train(replace(learning, epochs=epochs))
    pretrained = time.monotonic() - began
    warmup = {"lora": LoRA(rank=16, alpha=64), "epochs": 2, "batch": 32, "learning_rate": 1e-3}
    recipe = LESS(
        target=str(folder / "targets.json"),
        subtask=None,
        train=replace(learning, base=learnt, **warmup),
        warmup_share=0.1,
    )
    began = time.monotonic()
    free = recipe.select(pool)
    seconds = time.monotonic() - began
    began = time.monotonic()
    projected = replace(recipe, projection=Projected()).select(pool)
    both = np.isfinite(free.score) & np.isfinite(projected.score)
    share = of_kind / pool.samples
    line = {
        "kind": given.kind,
        "samples": pool.samples,
        "planted": of_kind,
        "targets": len(targets),
        "pretraining_s": round(pretrained, 1),
        "selection_s": round(seconds, 1),
        "projected_s": round(time.monotonic() - began, 1),
        "ratio": round(float((free.ids < of_kind).mean()) / share, 2),
        "projected_ratio": round(float((projected.ids < of_kind).mean()) / share, 2),
        "spearman": round(spearman(free.score[both], projected.score[both]), 4),
        "facts": free.facts,
    }
    printed(line)


if __name__ == "__main__":
    main()
