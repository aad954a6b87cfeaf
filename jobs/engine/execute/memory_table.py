"""The table of docs/models.md: how many GPUs a model of each size needs. `python -m jobs.engine.execute.memory_table`.

The shapes are those of Qwen3's models, and of Llama-3.3-70B.
"""

import sys
from collections.abc import Iterator

from jobs.engine.execute.model_memory import fits, gpus_of
from jobs.engine.execute.model_sizes import Sizes
from jobs.engine.execute.profile import Execution, Profile
from operators.asking.judge import Judge
from operators.base import Operator
from operators.checkpoint import Checkpoint
from operators.gradients.gradient import Gradient
from operators.losses.loss import Loss
from operators.training.finetune import LIKE_ALPACA, Activations, Finetune

GPU_BYTES = 80 * 2**30
COUNTS = (1, 2, 4, 8, 16, 32)
ANY = Checkpoint("any")

COLUMNS: dict[str, tuple[Operator | Finetune, Activations | None]] = {
    "judge": (Judge(model=ANY), None),
    "loss, score": (Loss(ANY), None),
    "gradients": (Gradient(ANY, ANY), None),
    "LoRA": (Finetune(ANY), "kept"),
    "LoRA, recomputed": (Finetune(ANY), "recomputed"),
    "all weights": (LIKE_ALPACA, "kept"),
    "all weights, recomputed": (LIKE_ALPACA, "recomputed"),
}

# layers, width, width of the feed-forward layers, heads, heads of keys, width of a head, whether the head is tied
SHAPES = {
    "0.6B": (28, 1024, 3072, 16, 8, 128, True),
    "1.7B": (28, 2048, 6144, 16, 8, 128, True),
    "4B": (36, 2560, 9728, 32, 8, 128, True),
    "8B": (36, 4096, 12288, 32, 8, 128, False),
    "14B": (40, 5120, 17408, 40, 8, 128, False),
    "32B": (64, 5120, 25600, 64, 8, 128, False),
    "70B": (80, 8192, 28672, 64, 8, 128, False),
}


def sizes(name: str) -> Sizes:
    """The sizes of the model of this name."""
    from transformers import Qwen3Config  # noqa: PLC0415 - most of Winnow does without it

    layers, width, inner, heads, keys, head, tied = SHAPES[name]
    config = Qwen3Config(
        vocab_size=151936,
        num_hidden_layers=layers,
        hidden_size=width,
        intermediate_size=inner,
        num_attention_heads=heads,
        num_key_value_heads=keys,
        head_dim=head,
        tie_word_embeddings=tied,
    )
    return Sizes.of(config)


def fewest_gpus(step: Operator | Finetune, activations: Activations | None, model: Sizes) -> int | None:
    """The fewest GPUs of 80 GiB on which the step fits; None where it does not fit."""
    for count in COUNTS:
        layout = "shards" if count > 1 else "copies"
        how = Profile(
            default=Execution(gpus=count),
            train_workers=count,
            train_gpus=1,
            train_layout=layout,
            train_activations=activations or "kept",
            train_tokens=2048,
        )
        if fits(step, how, model, GPU_BYTES):
            return count
    return None


def largest_models(how: Profile, gpu_bytes: float) -> dict[str, str | None]:
    """The largest of these models that fits on GPUs of this size, for each kind of work that the profile gives GPUs.

    By the names of the table's columns, without those that the profile leaves on CPUs; None where no model fits.
    """
    known = {name: sizes(name) for name in reversed(SHAPES)}
    return {
        column: next((name for name, model in known.items() if fits(step, how, model, gpu_bytes)), None)
        for column, (step, activations) in COLUMNS.items()
        if gpus_of(step, how) and activations in (how.train_activations, None)
    }


def lines() -> Iterator[str]:
    """The lines of the table."""
    yield f"| model | {' | '.join(COLUMNS)} |"
    yield "|---" * (len(COLUMNS) + 1) + "|"
    for name in SHAPES:
        model = sizes(name)
        counts = [fewest_gpus(*column, model) for column in COLUMNS.values()]
        yield f"| {name} | {' | '.join('–' if count is None else str(count) for count in counts)} |"


if __name__ == "__main__":
    sys.stdout.write("".join(f"{line}\n" for line in lines()))
