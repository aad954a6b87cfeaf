"""The lexical diversity of a text of the sample, as MTLD.

LexicalDiversity()                          # of the response
LexicalDiversity(text="{conversation}")
"""

from typing import Annotated

import pyarrow as pa
from pydantic import Field
from pydantic.dataclasses import dataclass

from operators.base import STRICT, Compute, RowError
from operators.kernels.mtld import mtld
from operators.templated import Templated, TextTemplate
from operators.words import words


@dataclass(frozen=True, config=STRICT)
class LexicalDiversity(Templated):
    """The MTLD of a text: the number of words until its vocabulary repeats itself; one float per row, from 1 up."""

    text: TextTemplate = "{response}"
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.72
    """The share of different words at which a factor ends (kernels/mtld.py)."""

    def uses_gpus(self) -> bool:
        """Counting needs none."""
        return False

    def load(self) -> Compute:
        """A function from a batch to the MTLD of each text, or a RowError.

        The kinds of error are empty_text (the text has no words) and no_words (its script has no spaces between words,
        and no dictionary; operators/words.py).
        """

        def value(text: str) -> float | RowError:
            try:
                found = words(text)
            except RowError as error:
                return error
            return mtld(found, self.threshold) if found else RowError("empty_text", "the text has no words")

        def compute(batch: pa.Table) -> list[float | RowError]:
            return [value(text) for text in self.texts(batch)]

        return compute
