"""Operators on one text per sample, which a template makes from the sample."""

from typing import Annotated

import pyarrow as pa
from pydantic import AfterValidator
from pydantic.dataclasses import dataclass

from operators import sample
from operators.base import STRICT, Operator

TextTemplate = Annotated[str, AfterValidator(sample.checked_template)]


@dataclass(frozen=True, config=STRICT)
class Templated(Operator):
    """An operator on one text per sample."""

    text: TextTemplate = "{conversation}"
    """The text, with {instruction}, {request}, {response}, {reasoning}, {conversation} and {system} in it. Only
    {reasoning} has what the assistant thinks before its answers."""

    def columns(self) -> tuple[str, ...]:
        """The messages, and the record where the template needs it."""
        return ("messages", "raw") if sample.needs_record(self.text) else self.reads

    def texts(self, batch: pa.Table) -> list[str]:
        """The text of each row."""
        return [sample.text(self.text, **row) for row in batch.select(self.columns()).to_pylist()]
