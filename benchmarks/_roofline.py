"""What a device can do at best, measured on it, and the line that compares a run with that."""

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

SIDE = 8192  # of the matrices that are multiplied on a GPU; 512 on a CPU


@dataclass(frozen=True)
class Roofline:
    """A device, its rates of matrix products in operations a second, and its memory's in bytes a second."""

    device: torch.device
    float32: float
    bfloat16: float
    memory: float

    @classmethod
    def of(cls, device: torch.device) -> "Roofline":
        """The rates, each from the fastest of three runs."""
        side = SIDE if device.type == "cuda" else 512
        float32, bfloat16 = (torch.rand(side, side, device=device).to(kind) for kind in (torch.float32, torch.bfloat16))
        block = torch.empty(4 * side**2, device=device)
        return cls(
            device,
            float32=2 * side**3 / fastest(lambda: float32 @ float32, device),
            bfloat16=2 * side**3 / fastest(lambda: bfloat16 @ bfloat16, device),
            memory=2 * block.nbytes / fastest(block.clone, device),
        )

    def name(self) -> str:
        """The device's own name."""
        if self.device.type == "cuda":
            return torch.cuda.get_device_name(self.device)
        return f"CPU {platform.machine()}, {torch.get_num_threads()} threads"

    def seconds(self, float32: float = 0, bfloat16: float = 0, memory: float = 0) -> float:
        """The least time for these operations and bytes, where they overlap."""
        return max(float32 / self.float32 + bfloat16 / self.bfloat16, memory / self.memory)


def fastest(work: Callable[[], Any], device: torch.device, repeats: int = 3) -> float:
    """The least wall seconds of a call, after one that warms up."""
    seconds(work, device)
    return min(seconds(work, device) for _ in range(repeats))


def seconds(work: Callable[[], Any], device: torch.device) -> float:
    """The wall seconds of a call, until the device is done."""
    _wait(device)
    before = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - before


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def line(roofline: Roofline, of: str, rows: int, ours: float, naive: float, least: float, **facts: Any) -> dict:
    """The line of a run over some rows: our seconds, those of the naive form, and the least that the device needs."""
    return {
        "benchmark": "gpu",
        "of": of,
        "device": roofline.name(),
        "rows": rows,
        **facts,
        "seconds": round(ours, 4),
        "rows_a_second": round(rows / ours, 1),
        "naive_seconds": round(naive, 4),
        "ratio": round(naive / ours, 2),
        "roofline_seconds": float(f"{least:.3g}"),
        "share_of_roofline": round(least / ours, 4),
        "torch": torch.__version__,
    }
