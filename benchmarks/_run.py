"""How benchmarks run: their options, their clocks, the process of one size, and how a figure grows with the size."""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")


def options(doc: str | None, **defaults: Any) -> argparse.ArgumentParser:
    """A parser of an option per default, which takes values of its type; several where the default is a list."""
    parser = argparse.ArgumentParser(description=(doc or "").split("\n")[0])
    for name, default in defaults.items():
        several = isinstance(default, list)
        kind = type(default[0] if several else default)
        parser.add_argument(f"--{name}", type=kind, default=default, nargs="+" if several else None)
    return parser


def printed(line: dict[str, Any]) -> None:
    """Prints a line."""
    print(json.dumps(line, ensure_ascii=False), flush=True)


def busy() -> dict[str, Any]:
    """How many threads torch uses here, and how many processes want the processors."""
    import torch

    return {"threads": torch.get_num_threads(), "load": os.getloadavg()[0]}


def cpu_seconds(work: Callable[[], T]) -> tuple[float, T]:
    """The CPU seconds of a call, and its result."""
    before = time.process_time()
    found = work()
    return time.process_time() - before, found


def exponent(sizes: Iterable[float], figures: Iterable[float]) -> float:
    """The slope of the logarithm of a figure over that of the size; figures below 0.01 count as 0.01."""
    x, y = (np.log(np.maximum(np.array([*each], float), 0.01)) for each in (sizes, figures))
    return round(float(np.polyfit(x, y, 1)[0]), 2)


def alone(module: str, *words: object) -> dict[str, Any]:
    """The last line of a benchmark that runs in a process of its own."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *map(str, words)]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[-1])
