"""How much faster is token_stats than softmax on all logits, how close is it, and what memory does it need?

    python -m benchmarks.token_stats [--classes 151936 32000] [--width 896 512] [--tokens 512]

There are two references. `written` is the definition written out: the (tokens, V) logits, their cross_entropy, and the
norm of softmax minus one_hot. `lean` uses one log_softmax for both, and overwrites its exponential instead of building
a table of one-hot rows. All sides take the same float32 hidden states, head and targets, in this process, in turns.
Times are CPU seconds, because wall time depends on other processes: a ratio is a reference's median over ours.
`product` is the matrix product alone, in our tiles: `lean_over_product` is the ratio if the statistics cost nothing.

Memory is the rise of the process's resident set during a call, from the kernel's high-water mark (Linux). It is
measured in each side's first call at full size, after a small call that loads the libraries. Errors are the largest
differences from float64 on the first 64 tokens.
"""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from benchmarks._run import busy, cpu_seconds, options, printed
from operators.kernels.token_stats import CPU_TILE, token_stats

Stats = tuple[torch.Tensor, torch.Tensor]


def written(hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor) -> Stats:
    """NLL and EL2N from all logits, each by its definition, in the precision of the inputs."""
    logits = hidden @ head.T
    nll = functional.cross_entropy(logits, targets, reduction="none")
    return nll, (logits.softmax(1) - functional.one_hot(targets, len(head))).norm(dim=1)


def lean(hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor) -> Stats:
    """NLL and EL2N from one log_softmax."""
    rows = torch.arange(len(targets))
    logs = torch.log_softmax(hidden @ head.T, dim=1)
    nll = -logs[rows, targets]
    errors = logs.exp()
    errors[rows, targets] -= 1
    return nll, errors.norm(dim=1)


def tiled(hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor) -> Stats:
    """NLL and EL2N by `token_stats`."""
    stats = token_stats(hidden, head, targets)
    return stats.nll, stats.el2n


def products(hidden: torch.Tensor, head: torch.Tensor) -> None:
    """The matrix product alone, in our tiles."""
    room = torch.empty(CPU_TILE[0], CPU_TILE[1])
    for weights in head.split(CPU_TILE[1]):
        for states in hidden.split(CPU_TILE[0]):
            torch.mm(states, weights.T, out=room[: len(states), : len(weights)])


def resident(field: str) -> float:
    """The process's memory in MB: VmRSS is the current one, VmHWM the highest since the mark was reset."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    if found is None:
        raise RuntimeError(f"/proc/self/status has no {field}")
    return int(found[1]) / 1024


def peak_memory(work: Callable[[], object]) -> float:
    """The rise of the resident set in MB while `work` runs."""
    Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
    before = resident("VmRSS")
    work()
    return resident("VmHWM") - before


def compare(classes: int, width: int, tokens: int, repeats: int) -> dict[str, object]:
    """The result line: all sides' times, errors and memory."""
    random = torch.Generator().manual_seed(0)
    head = torch.randn(classes, width, generator=random) * width**-0.5
    hidden = torch.randn(tokens, width, generator=random) * 3  # logits of standard deviation 3, as models have
    targets = torch.randint(classes, (tokens,), generator=random)
    given = (hidden, head, targets)
    sides = {"ours": tiled, "lean": lean, "written": written}
    for side in sides.values():
        side(hidden[:8], head[:1000], targets[:8] % 1000)
    memory = {name: peak_memory(lambda side=side: side(*given)) for name, side in sides.items()}
    turns: dict[str, list[float]] = {name: [] for name in [*sides, "product"]}
    for _ in range(repeats):
        for name, side in sides.items():
            turns[name].append(cpu_seconds(lambda side=side: side(*given))[0])
        turns["product"].append(cpu_seconds(lambda: products(hidden, head))[0])
    spent = {name: float(np.median(times)) for name, times in turns.items()}
    few = (hidden[:64], head, targets[:64])
    exact = lean(few[0].double(), head.double(), few[2])
    worst = {
        name: [float((found - true).abs().max()) for found, true in zip(side(*few), exact, strict=True)]
        for name, side in sides.items()
    }
    return {
        "benchmark": "token_stats",
        "classes": classes,
        "width": width,
        "tokens": tokens,
        **busy(),
        "seconds": {name: round(found, 3) for name, found in spent.items()},
        "ratio_to_written": round(spent["written"] / spent["ours"], 2),
        "ratio_to_lean": round(spent["lean"] / spent["ours"], 2),
        "lean_over_product": round(spent["lean"] / spent["product"], 2),
        "ours_over_product": round(spent["ours"] / spent["product"], 2),
        "nll_error": {name: errors[0] for name, errors in worst.items()},
        "el2n_error": {name: errors[1] for name, errors in worst.items()},
        "memory_mb": {name: round(found, 1) for name, found in memory.items()},
        "memory_share_of_written": round(memory["ours"] / memory["written"], 4),
        "memory_share_of_lean": round(memory["ours"] / memory["lean"], 4),
    }


def main() -> None:
    given = options(__doc__, classes=[151_936, 32_000], width=[896, 512], tokens=512, threads=1, repeats=3).parse_args()
    torch.set_num_threads(given.threads)
    for classes, width in zip(given.classes, given.width, strict=True):
        printed(compare(classes, width, given.tokens, given.repeats))


if __name__ == "__main__":
    main()
