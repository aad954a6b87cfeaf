"""How many characters a sample has."""

from pydantic.dataclasses import dataclass

from operators.base import STRICT, Compute
from operators.templated import Templated


@dataclass(frozen=True, config=STRICT)
class Characters(Templated):
    """The number of Unicode code points of a text of the sample; an int a row."""

    uncounted: str = ""
    """Characters that do not count."""

    def load(self) -> Compute:
        """Counts each sample's text."""

        def length(text: str) -> int:
            return len(text) - sum(map(text.count, set(self.uncounted)))

        return lambda batch: list(map(length, self.texts(batch)))
