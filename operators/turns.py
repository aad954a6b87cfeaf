"""The number of turns of a sample."""

from typing import Literal

import pyarrow as pa
from pydantic.dataclasses import dataclass

from operators.base import STRICT, Compute, Operator


@dataclass(frozen=True, config=STRICT)
class Turns(Operator):
    """The number of messages of one role; one int per row."""

    role: Literal["user", "assistant"] = "user"

    def uses_gpus(self) -> bool:
        """Counting needs none."""
        return False

    def load(self) -> Compute:
        """A function from a batch to the number of messages of each sample."""

        def compute(batch: pa.Table) -> list[int]:
            conversations = batch["messages"].to_pylist()
            return [sum(message["role"] == self.role for message in messages) for messages in conversations]

        return compute
