"""The steps of a recipe, declared so that they can be planned and checked before anything runs."""

from collections.abc import Iterable
from dataclasses import dataclass

from jobs.engine.terminal.errors import together
from operators.base import Operator
from operators.training.finetune import Finetune


@dataclass(frozen=True)
class Later:
    """A column of an operator whose model is trained earlier in the run."""

    operator: str
    """The name of the operator's class."""


@dataclass(frozen=True)
class Reads:
    """Additional inputs of a recipe, such as target samples."""

    inputs: str


Step = Operator | Finetune | Later | Reads
DECLARED = (Operator, Finetune)


def checked(steps: Iterable[Step]) -> None:
    """Raises ModelMissing or UsageError where operators or trainers cannot be loaded as they are declared."""
    together(step.check for step in steps if isinstance(step, DECLARED))
