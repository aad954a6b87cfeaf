"""Operators for the engine's tests: cheap, deterministic, and able to fail in every way."""

import os
import signal
import time
from pathlib import Path

import numpy as np
from pydantic.dataclasses import dataclass

from operators.base import STRICT, Arriving, Operator, RowError
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
class Looks(Operator):
    """The GPUs that a worker of it sees when it is loaded, as CUDA would."""

    asked: int = 0

    def load(self):
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        return lambda batch: [visible] * batch.num_rows


@dataclass(frozen=True, config=STRICT)
class Counts(Operator):
    """A constant; writes down each id that it is given."""

    file: str = ""

    def load(self):
        def compute(batch):
            with open(self.file, "a") as file:
                file.writelines(f"{each} " for each in batch["id"].to_pylist())
            return np.ones(batch.num_rows)

        return compute


@dataclass(frozen=True, config=STRICT)
class Clears(Operator):
    """A constant; before each batch, the parts of the earlier ones disappear from a store."""

    folder: str = ""

    def load(self):
        def compute(batch):
            for part in Path(self.folder).glob("Clears-*/*/part-*"):
                part.unlink()
            return np.ones(batch.num_rows)

        return compute


@dataclass(frozen=True, config=STRICT)
class Unloadable(Operator):
    """An operator whose load fails."""

    def load(self):
        raise OSError("the weights are corrupt")


@dataclass(frozen=True, config=STRICT)
class KilledLoading(Operator):
    """An operator whose worker is killed while it loads; writes down each load."""

    loads: str = ""

    def load(self):
        with open(self.loads, "a") as file:
            file.write("x")
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True, config=STRICT)
class Stuck(Operator):
    """An operator that never ends."""

    def load(self):
        return lambda batch: time.sleep(3600) or []


@dataclass(frozen=True, config=STRICT)
class Arrives(Arriving):
    """Half the id and a note, in lots of three from the last row on; writes down each id before it gives it."""

    counted: str = ""
    kill_after: int = 0

    def load(self):
        def compute(batch):
            rows = list(range(batch.num_rows))[::-1]
            for lot in (rows[at : at + 3] for at in range(0, len(rows), 3)):
                if len(open(self.counted).read().split() if os.path.exists(self.counted) else ()) == self.kill_after:
                    self._die_once()
                with open(self.counted, "a") as file:
                    file.writelines(f"{batch['id'][row]} " for row in lot)
                yield {row: self._value(batch, row) for row in lot}

        return compute

    def _die_once(self):
        marker = self.counted + ".died"
        if not os.path.exists(marker):
            open(marker, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)

    @staticmethod
    def _value(batch, row):
        number = batch["id"][row].as_py()
        return {"score": number / 2, "note": batch["messages"][row].as_py()[1]["content"]}


class AcceleratorError(RuntimeError):
    """As torch raises it for a CUDA error."""


@dataclass(frozen=True, config=STRICT)
class Accelerated(Operator):
    """The length of the instruction; "break" in it makes its worker's device fail, for this row and all later ones."""

    message: str = "CUDA error: an illegal memory access was encountered\nCompile with TORCH_USE_CUDA_DSA"
    loads: str = ""
    """A file in which each load is written down."""
    lost: int = 0
    """The number of loads that lose the device."""

    def load(self):
        broken = []
        if self.loads:
            with open(self.loads, "a") as file:
                file.write("x")
            if os.path.getsize(self.loads) <= self.lost:
                raise AcceleratorError(self.message)

        def compute(batch):
            texts = [instruction(messages) for messages in batch["messages"].to_pylist()]
            if broken or any("break" in text for text in texts):
                broken.append(True)
                raise AcceleratorError(self.message)
            return [float(len(text)) for text in texts]

        return compute
