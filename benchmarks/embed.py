"""How much faster is Embed than SentenceTransformer.encode on a CPU, and how close are the vectors?

    python -m benchmarks.embed [--data FILE] [--n 512] [--cores N] [--repeats 3] [--precision auto]

Both run in one process, in turn, on the same texts and cores, because only ratios are meaningful on a shared machine.
The peer uses the cores in its own way, with one thread on each. Embed uses them as the engine does, with one worker of
one thread on each. On a busy machine the ratio of CPU seconds is the more stable one. Prints one JSON line.
"""

import os
import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks._made import records
from benchmarks._run import options, printed
from operators import sample
from operators.checkpoint import MINILM, Checkpoint
from operators.embedding.embed import Embed

VERBS = "Describe Compare Rewrite Summarize Explain List Translate Classify Compose Correct"
THINGS = (
    "the causes of inflation,a healthy breakfast,the water cycle,a short poem about rain,this customer complaint,"
    "two ways to sort a list,the plot of a novel,a cover letter,how vaccines work,the capital cities of Europe"
)
WORDS = (
    "the a of to and in is that for it with as was on are by this be from or which have an they not can more "
    "people time energy water system data process important example however reduce increase health company model "
    "history language government student market temperature different several therefore because through between "
    "function return value python unit test cell light gravity electron photosynthesis recipe butter flour oven"
)


def built_texts(count: int, seed: int) -> list[str]:
    """Instruction-like texts with log-normal lengths of about 55 words, like Alpaca's answers."""
    drawn = random.Random(seed)
    verbs, things, known = VERBS.split(), THINGS.split(","), WORDS.split()

    def text() -> str:
        words = drawn.choices(known, k=max(1, int(drawn.lognormvariate(3.6, 0.9))))
        return f"{drawn.choice(verbs)} {drawn.choice(things)}.\n{' '.join(words).capitalize()}."

    return [text() for _ in range(count)]


def read_texts(path: Path, count: int, seed: int) -> list[str]:
    """Texts of Alpaca records (instruction, input, output), drawn without replacement."""
    found = records(path)
    drawn = random.Random(seed).sample(found, min(count, len(found)))
    return ["\n".join(filter(None, (row["instruction"], row.get("input"), row["output"]))) for row in drawn]


def measured(texts: list[str], model: str, precision: str, repeats: int) -> dict[str, object]:
    """The median times of both, their ratio, and the least cosine between a text's two vectors."""
    import torch
    from sentence_transformers import SentenceTransformer

    from operators.embedding.encoder import least_cosine

    checkpoint = Checkpoint(model)
    peer = SentenceTransformer(str(checkpoint.folder()), device="cpu")
    compute = Embed(model=checkpoint, precision=precision).load()  # pyright: ignore[reportArgumentType]
    cores = torch.get_num_threads()
    workers = ThreadPoolExecutor(cores, initializer=torch.set_num_threads, initargs=(1,))
    messages = [[{"role": "user", "content": text}] for text in texts]
    batch = pa.table({"messages": pa.array(messages, sample.MESSAGES)})

    def ours(batch: pa.Table) -> np.ndarray:
        size = -(-batch.num_rows // cores)
        return np.concatenate(
            list(workers.map(compute, [batch.slice(at, size) for at in range(0, batch.num_rows, size)]))
        )

    clocks = (time.perf_counter, time.process_time)
    peer_seconds: list[list[float]] = []
    our_seconds: list[list[float]] = []
    expected, found = peer.encode(texts[:32], batch_size=32), ours(batch.slice(0, 32))  # warm both
    for _ in range(repeats):
        start = [clock() for clock in clocks]
        expected = peer.encode(texts, batch_size=32, normalize_embeddings=True)
        middle = [clock() for clock in clocks]
        found = ours(batch)
        end = [clock() for clock in clocks]
        peer_seconds.append([after - before for before, after in zip(start, middle, strict=True)])
        our_seconds.append([after - before for before, after in zip(middle, end, strict=True)])
    peer_wall, peer_cpu = np.median(peer_seconds, axis=0).tolist()
    our_wall, our_cpu = np.median(our_seconds, axis=0).tolist()
    return {
        "n": len(texts),
        "tokens": sum(map(len, peer.tokenizer(texts, truncation=True, max_length=peer.max_seq_length)["input_ids"])),
        "cores": cores,
        "peer_seconds": round(peer_wall, 3),
        "ours_seconds": round(our_wall, 3),
        "ratio": round(peer_wall / our_wall, 3),
        "cpu_ratio": round(peer_cpu / our_cpu, 3),
        "min_cosine": round(least_cosine(np.asarray(expected), np.asarray(found, np.float32)), 6),
        "precision": precision,
        "bfloat16_hardware": _bfloat16_hardware(),
        "torch": torch.__version__,
    }


def _bfloat16_hardware() -> bool:
    import torch

    from operators.models.loading import bfloat16_is_fast

    return bfloat16_is_fast(torch.device("cpu"))


def main() -> int:
    parser = options(__doc__, n=512, seed=0, cores=os.cpu_count(), repeats=3, model=MINILM)
    parser.add_argument("--data", type=Path, help="Alpaca-style JSON array or lines; default: built texts")
    parser.add_argument("--precision", default="auto", choices=["auto", "float32", "bfloat16"])
    given = parser.parse_args()
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the question is about CPUs
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    import torch

    torch.set_num_threads(given.cores)
    texts = read_texts(given.data, given.n, given.seed) if given.data else built_texts(given.n, given.seed)
    printed(measured(texts, given.model, given.precision, given.repeats))
    return 0


if __name__ == "__main__":
    sys.exit(main())
