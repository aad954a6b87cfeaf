"""A field of the original record as a feature: a task label, a category, a language tag."""

from pydantic.dataclasses import dataclass

from operators.base import STRICT, Compute, Operator
from operators.sample import record_in, spelled


@dataclass(frozen=True, config=STRICT)
class Field(Operator):
    """A field of the record as a string; empty where the record lacks it or it is null."""

    reads = ("raw",)

    name: str = "task"

    def uses_gpus(self) -> bool:
        """Reading a field needs none."""
        return False

    def load(self) -> Compute:
        """A function from a batch to the field of each record; values other than strings are written as JSON.

        Half of a surrogate pair, which no text can contain, becomes U+FFFD.
        """

        def label(raw: bytes) -> str:
            value = record_in(raw).get(self.name)
            return "" if value is None else spelled(value)

        return lambda batch: [label(raw) for raw in batch["raw"].to_pylist()]
