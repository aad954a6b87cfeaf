"""What a recipe declares that it will do, so that it can be planned and checked before anything runs."""

from collections.abc import Iterable
from dataclasses import dataclass

from jobs.engine.terminal.errors import together
from operators.base import Operator
from operators.training.finetune import Finetune


@dataclass(frozen=True)
class Later:
    """A column of an operator whose model the run trains first."""

    operator: str
    """The name of its class."""


@dataclass(frozen=True)
class Reads:
    """Inputs besides the run's own, such as target samples."""

    inputs: str


Step = Operator | Finetune | Later | Reads
DECLARED = (Operator, Finetune)


def checked(steps: Iterable[Step]) -> None:
    """Nothing; ModelMissing or UsageError where operators or trainers could not be loaded as they are declared."""
    together(step.check for step in steps if isinstance(step, DECLARED))
