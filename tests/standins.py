"""Operators for the engine's tests: cheap, deterministic, and able to fail in every way."""

import os
import signal
import time

import numpy as np
from pydantic.dataclasses import dataclass

from operators.base import STRICT, Operator, RowError
from operators.sample import instruction


@dataclass(frozen=True, config=STRICT)
class Hashed(Operator):
    """A vector that follows from the sample's content hash."""

    dimensions: int = 8

    def load(self):
        def vector(sha: bytes) -> np.ndarray:
            return np.random.default_rng(list(sha)).standard_normal(self.dimensions).astype(np.float32)

        return lambda batch: np.stack([vector(sha) for sha in batch["sha"].to_pylist()])


@dataclass(frozen=True, config=STRICT)
class Touchy(Operator):
    """The length of the instruction; words in it make it fail."""

    def load(self):
        def compute(batch):
            texts = [instruction(messages) for messages in batch["messages"].to_pylist()]
            if any("kill" in text for text in texts):
                os.kill(os.getpid(), signal.SIGKILL)
            if any("raise" in text for text in texts):
                raise ValueError("one of these I cannot do")
            return [self._length(text) for text in texts]

        return compute

    @staticmethod
    def _length(text: str):
        if "refuse" in text:
            return RowError("refused", "it said refuse")
        return float("nan") if "nan" in text else float(len(text))


@dataclass(frozen=True, config=STRICT)
class Slow(Operator):
    """A constant after a while; the first batch that a marker file does not know of kills its worker."""

    seconds: float = 0.05
    kill_once: str = ""

    def load(self):
        def compute(batch):
            time.sleep(self.seconds)
            if self.kill_once and not os.path.exists(self.kill_once):
                open(self.kill_once, "w").close()
                os.kill(os.getpid(), signal.SIGKILL)
            return np.ones(batch.num_rows)

        return compute


@dataclass(frozen=True, config=STRICT)
class Unloadable(Operator):
    """An operator whose load fails."""

    def load(self):
        raise OSError("the weights are corrupt")


@dataclass(frozen=True, config=STRICT)
class Stuck(Operator):
    """An operator that never ends."""

    def load(self):
        return lambda batch: time.sleep(3600) or []
