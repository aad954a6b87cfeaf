"""What does each heavy step do on this GPU, beside its naive form and beside what the GPU could do at best?

    python -m benchmarks.gpu [k_center kmeans embed embed_large loss less judge] [--model FOLDER]

One JSON line each, with the name of the device. `ratio` is the seconds of the naive form over ours: the code that one
would write first, on the same device. `roofline_seconds` is what the matrix products of the algorithm and the reading
of its input take at the rates that are measured here first; `share_of_roofline` is that over our seconds. The times are
wall times of the whole call, copies to the device and tokenising included, models loaded and warm.

Models have random weights in the shape of MiniLM (embed), of Qwen3-Embedding-0.6B (embed_large) and of a Llama of 1.2
billion weights (loss, less, judge); --model takes another causal model. The judge needs vLLM. --small shrinks all of it
until a CPU takes seconds, which shows that it runs and nothing else; so does a machine without a GPU.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import torch

from benchmarks._gpu_kernels import k_center_line, kmeans_line
from benchmarks._gpu_models import Sizes, causal, embed_line, encoder, large_encoder, less_line, loss_line, made_batch
from benchmarks._roofline import Roofline
from benchmarks._run import options, printed
from operators.checkpoint import Checkpoint

QWEN3 = {"hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16}
LLAMA = {"hidden_size": 2048, "intermediate_size": 8192, "layers": 16, "num_attention_heads": 32}
FULL = Sizes(
    texts=20_000,
    words=165,  # about 200 tokens
    encoder={"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536},
    large_encoder={**QWEN3, "num_key_value_heads": 8, "head_dim": 128},
    samples=1024,
    vocabulary=128_256,
    causal={**LLAMA, "num_key_value_heads": 8, "max_position_embeddings": 4096},
    rank=128,
    subtasks=57,
)
SHAPE = {"hidden_size": 128, "intermediate_size": 128, "layers": 2, "num_attention_heads": 4}
SMALL_QWEN3 = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
SMALL = Sizes(
    texts=24,
    words=20,
    encoder={"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64},
    large_encoder={**SMALL_QWEN3, "num_key_value_heads": 1, "head_dim": 16},
    samples=12,
    vocabulary=1000,
    causal={**SHAPE, "num_key_value_heads": 4, "max_position_embeddings": 2048},
    rank=4,
    subtasks=5,
)
POINTS = (10_000_000, 384)
FEW_POINTS = (3000, 24)


def lines(roofline: Roofline, small: bool, model: str | None, folder: Path) -> dict[str, Callable[[], dict]]:
    """What computes each line, by its name."""
    sizes = SMALL if small else FULL
    points = FEW_POINTS if small else POINTS
    found: list[Checkpoint] = []

    def made() -> Checkpoint:
        if not found:
            found.append(Checkpoint(model) if model else causal(folder / "causal", sizes))
        return found[0]

    def texts(part: int) -> pa.Table:
        return made_batch(sizes.texts // part, sizes.words)

    def judge() -> dict:
        from benchmarks._gpu_judge import judge_line

        return judge_line(roofline, sizes, made())

    return {
        "k_center": lambda: k_center_line(roofline, *points, 40 if small else 10_000),
        "kmeans": lambda: kmeans_line(roofline, *points, 20 if small else 1000),
        "embed": lambda: embed_line(roofline, "embed", encoder(folder / "encoder", sizes), texts(1)),
        "embed_large": lambda: embed_line(roofline, "embed_large", large_encoder(folder / "large", sizes), texts(8)),
        "loss": lambda: loss_line(roofline, sizes, made()),
        "less": lambda: less_line(roofline, sizes, made(), folder),
        "judge": judge,
    }


def main() -> None:
    names = ("k_center", "kmeans", "embed", "embed_large", "loss", "less", "judge")
    parser = options(__doc__)
    parser.add_argument("names", nargs="*", help=f"what to measure, of {', '.join(names)}; all by default")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--model", help="a folder or a hub id of a causal model, for loss, less and judge")
    given = parser.parse_args()
    if unknown := set(given.names) - set(names):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there is {', '.join(names)}")
    cuda = torch.cuda.is_available()
    with tempfile.TemporaryDirectory() as folder:
        device = torch.device("cuda" if cuda else "cpu")
        known = lines(Roofline.of(device), given.small or not cuda, given.model, Path(folder))
        for name in given.names or names:
            printed(known[name]())


if __name__ == "__main__":
    main()
