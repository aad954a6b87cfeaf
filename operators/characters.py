"""How many characters a sample has."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator
from pydantic.dataclasses import dataclass

from operators import sample
from operators.base import STRICT, Compute, Operator


@dataclass(frozen=True, config=STRICT)
class Characters(Operator):
    """The number of Unicode code points of a text of the sample; an int a row."""

    text: Annotated[str, AfterValidator(sample.checked_template)] = "{conversation}"
    uncounted: str = ""
    """Characters that do not count."""

    def columns(self) -> tuple[str, ...]:
        """The record too, where the text takes it."""
        return ("messages", "raw") if sample.needs_record(self.text) else self.reads

    def load(self) -> Compute:
        """Counts each sample's text."""

        def length(row: Mapping[str, Any]) -> int:
            text = sample.text(self.text, row["messages"], row.get("raw", b""))
            return len(text) - sum(map(text.count, set(self.uncounted)))

        return lambda batch: [length(row) for row in batch.select(self.columns()).to_pylist()]
