"""What does a sample's LESS feature cost, from tokens to projection, compared with the loop and projector of LESS?

    python -m benchmarks.gradients [--hidden 512] [--layers 8] [--rank 64] [--samples 8] [--dimensions 8192]

The reference takes one sample at a time: all logits, a backward pass that forms the adapter's gradients, and Adam's
step. It projects 16 steps at a time, and draws a new matrix of signs for each block of 128 columns, as LESS does
without a GPU. Ours runs passes with hooks, as the operator does, and projects `--together` steps at a time: by shift,
which is the default, and by independent signs, as the reference does. `compared` is the recipe for known targets: it
projects nothing, and compares each parameter's steps with the directions of `--subtasks` subtasks during the pass.

All sides run in this process, in turns, on the same float32 model with random weights, and on samples of random tokens,
about a third of which are a response. Times are CPU seconds, because wall time depends on other processes: medians over
`--repeats`, per sample. The projections are timed on a part of the work, which is uniform, and scaled up: `--blocks` of
the reference's blocks of columns, and a `--share` of our coordinates. `relative_error` is the largest relative distance
of a sample's gradient to the reference's, with all samples padded in one pass. Alone, as on a CPU, they are closer.
"""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from benchmarks._run import busy, options, printed
from operators.gradients import features as gradient_features
from operators.gradients import per_sample
from operators.kernels.adam import adam_feature
from operators.kernels.influence import dots
from operators.kernels.projection import Projection, project
from operators.models.by_length import Budget
from operators.models.loading import bfloat16_is_fast
from operators.supervision.supervised import IGNORED

VOCABULARY = 32_000
COLUMNS = 128
TOGETHER = 16
"""The number of samples that LESS projects at a time."""

Moments = dict[str, tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True)
class Row:
    """A tokenized sample."""

    input_ids: list[int]
    labels: list[int]


def made_rows(count: int, seed: int = 0) -> list[Row]:
    """Samples with log-normal lengths: prompts of about 55 tokens, responses of about 35."""
    drawn = random.Random(seed)

    def row() -> Row:
        prompt, response = (max(2, min(400, int(drawn.lognormvariate(*of)))) for of in ((4.0, 0.5), (3.55, 0.9)))
        ids = [drawn.randrange(VOCABULARY) for _ in range(prompt + response)]
        return Row(ids, [IGNORED] * prompt + ids[prompt:])

    return [row() for _ in range(count)]


def made_model(hidden: int, layers: int, rank: int) -> Any:
    """A Llama with a LoRA adapter on q, k, v and o, all with random weights."""
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        intermediate_size=hidden * 11 // 4,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64,
    )
    modules = ["q_proj", "k_proj", "v_proj", "o_proj"]
    adapted = get_peft_model(LlamaForCausalLM(config), LoraConfig(r=rank, lora_alpha=4 * rank, target_modules=modules))
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.02)
    return adapted.eval()


def reference_gradient(model: Any, row: Row) -> torch.Tensor:
    """(P,) gradient of the adapter by autograd."""
    model.zero_grad()
    model(input_ids=torch.tensor([row.input_ids]), labels=torch.tensor([row.labels])).loss.backward()
    return torch.cat([weight.grad.view(-1) for weight in model.parameters() if weight.grad is not None])


def reference_feature(model: Any, row: Row, moments: Moments) -> torch.Tensor:
    """(P,) Adam's step with a sample's gradient, as LESS's code computes it."""
    gradient = reference_gradient(model, row)
    first, second = (torch.cat([pair[which] for pair in moments.values()]) for which in (0, 1))
    step, squares = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
    return step / torch.sqrt(squares + 1e-8)


def reference_columns(features: torch.Tensor, block: int) -> torch.Tensor:
    """(n, 128) one block of columns of the features' projection."""
    generator = torch.Generator().manual_seed(1000 * block)
    signs = torch.empty(features.shape[1], COLUMNS).bernoulli_(0.5, generator=generator)
    return features @ signs.mul_(2).sub_(1)


class Clock:
    """CPU seconds of several repeats, by name."""

    def __init__(self) -> None:
        self.spent: dict[str, list[float]] = {}

    def timed(self, name: str, work: Callable[[], Any]) -> Any:
        """Runs the work, notes its CPU seconds, and returns its result."""
        before = time.process_time()
        found = work()
        self.spent.setdefault(name, []).append(time.process_time() - before)
        return found

    def milliseconds(self, name: str, samples: float) -> float:
        """The median over the repeats, in milliseconds per sample."""
        return 1e3 * float(np.median(self.spent[name])) / samples


def compare(
    model: Any,
    rows: Sequence[Row],
    dimensions: int,
    subtasks: int,
    together: int,
    share: float,
    blocks: int,
    repeats: int,
) -> dict[str, object]:
    """The result line: the times per sample of both sides, their ratios, and the error."""
    adapter = {name: weight for name, weight in model.named_parameters() if "lora_" in name}
    layers = per_sample.adapter_layers(model)
    drawn = torch.Generator().manual_seed(1)
    moments = {
        name: (1e-3 * torch.randn(weight.numel(), generator=drawn), 1e-6 * torch.rand(weight.numel(), generator=drawn))
        for name, weight in adapter.items()
    }
    law, dense = (Projection(kind, dimensions, 0, per_sample.size(layers)) for kind in ("shift", "rademacher"))
    precision = "bfloat16" if bfloat16_is_fast(torch.device("cpu")) else "float32"

    targets = {name: torch.randn(subtasks, weight.numel(), generator=drawn) for name, weight in adapter.items()}

    def step(name: str, part: torch.Tensor) -> torch.Tensor:
        return adam_feature(part, *moments[name])

    def features() -> torch.Tensor:
        return gradient_features.whole_features(model, rows, layers, Budget(1), step)

    def compared() -> tuple[torch.Tensor, torch.Tensor]:
        return gradient_features.mapped_features(
            model, rows, layers, Budget(1), step, lambda name, part: dots(part, targets[name]), width=subtasks
        )

    def differentiated() -> None:
        for weight in adapter.values():
            weight.requires_grad_(True)

    differentiated()
    expected = torch.stack([reference_gradient(model, row) for row in rows])
    model.requires_grad_(False).zero_grad()
    parts: dict[str, torch.Tensor] = {}
    per_sample.backward(model, rows, layers, lambda name, factors: parts.update({name: factors.gradients()}))
    found = torch.cat([parts[name] for name in adapter], 1)
    stacked = expected.repeat(-(-TOGETHER // len(rows)), 1)[:TOGETHER]
    part = expected[:, : int(share * expected.shape[1])].repeat(-(-together // len(rows)), 1)[:together]
    clock = Clock()
    for go in range(repeats):
        differentiated()
        clock.timed("loop", lambda: [reference_feature(model, row, moments) for row in rows])
        for block in range(go, blocks, repeats):
            clock.timed("block", lambda block=block: reference_columns(stacked, block))
        model.requires_grad_(False).zero_grad()
        clock.timed("features", features)
        clock.timed("compared", compared)
        clock.timed("shift", lambda: project(part, law))
        clock.timed("dense", lambda: project(part, dense, precision=precision))
    loop, tapped, free = (clock.milliseconds(name, len(rows)) for name in ("loop", "features", "compared"))
    naive = clock.milliseconds("block", TOGETHER) * dimensions / COLUMNS
    default, exact = (
        tapped + clock.milliseconds(name, together) * expected.shape[1] / part.shape[1] for name in ("shift", "dense")
    )
    return {
        "benchmark": "gradients",
        "coordinates": expected.shape[1],
        "dimensions": dimensions,
        "subtasks": subtasks,
        "samples": len(rows),
        "tokens": sum(len(row.input_ids) for row in rows),
        **busy(),
        "precision_of_products": precision,
        "reference_gradient_ms": round(loop, 1),
        "reference_projection_ms": round(naive, 1),
        "gradient_ms": round(tapped, 1),
        "exact_ms": round(exact, 1),
        "default_ms": round(default, 1),
        "compared_ms": round(free, 1),
        "gradient_ratio": round(loop / tapped, 2),
        "exact_ratio": round((loop + naive) / exact, 1),
        "default_ratio": round((loop + naive) / default, 1),
        "compared_ratio": round((loop + naive) / free, 1),
        "relative_error": float(((found - expected).norm(dim=1) / expected.norm(dim=1)).max()),
    }


def main() -> None:
    parser = options(
        __doc__,
        hidden=512,
        layers=8,
        rank=64,
        samples=8,
        dimensions=8192,
        subtasks=9,
        share=1 / 32,
        blocks=3,
        threads=1,
        repeats=3,
    )
    parser.add_argument("--together", type=int, default=128, help="number of samples projected at a time")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    model, rows = made_model(given.hidden, given.layers, given.rank), made_rows(given.samples)
    sizes = (given.dimensions, given.subtasks, given.together, given.share, given.blocks, given.repeats)
    line = compare(model, rows, *sizes)
    printed(line)


if __name__ == "__main__":
    main()
