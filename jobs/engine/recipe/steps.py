"""The steps of a recipe, declared so that they can be planned and checked before anything runs."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from functools import partial

from jobs.engine.terminal.errors import each_of, refuse, together
from operators.base import Operator
from operators.checkpoint import Checkpoint
from operators.missing import ModelMissing
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


def checked(steps: Iterable[Step], declared: object = None) -> None:
    """Raises ModelMissing or UsageError where operators or trainers cannot be loaded as they are declared.

    declared: the declaration that the steps follow from. A missing model is named with its field of it.
    """
    together(partial(_checked, step, declared) for step in steps if isinstance(step, DECLARED))


def _checked(step: Operator | Finetune, declared: object) -> None:
    try:
        step.check()
    except ModelMissing as error:
        refuse(ModelMissing(f"{_field_of(str(each), declared)}{each}") for each in each_of(error))


def _field_of(said: str, declared: object) -> str:
    """The field of the model that a message is about, as the beginning of the message; empty where it has none."""
    for field, model in _models(declared, ""):
        if re.match(rf"model {re.escape(model.name)}[ :]", said):
            return f"{field}.name: "
    return ""


def _models(declared: object, path: str) -> Iterator[tuple[str, Checkpoint]]:
    """The models in a declaration, each with its dotted field."""
    if isinstance(declared, Checkpoint):
        yield path, declared
    elif is_dataclass(declared):
        for each in fields(declared):
            yield from _models(getattr(declared, each.name), f"{path}.{each.name}".lstrip("."))
