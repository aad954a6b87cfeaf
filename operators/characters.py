"""The number of characters of a sample."""

from pydantic.dataclasses import dataclass

from operators.base import STRICT, Compute
from operators.templated import Templated


@dataclass(frozen=True, config=STRICT)
class Characters(Templated):
    """The number of Unicode code points of a text of the sample; one int per row."""

    uncounted: str = ""
    """Characters that are not counted."""

    def uses_gpus(self) -> bool:
        """Counting needs none."""
        return False

    def load(self) -> Compute:
        """A function from a batch to the number of characters of each text."""

        def length(text: str) -> int:
            return len(text) - sum(map(text.count, set(self.uncounted)))

        return lambda batch: list(map(length, self.texts(batch)))
