"""Errors that the user can do something about. Each has the exit code of its command."""

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Any

from operators.missing import ModelMissing


class WinnowError(Exception):
    """A failure with a message for people. Exit code 1."""

    exit_code = 1


class UsageError(WinnowError):
    """The command, a field or an input is wrong. Exit code 2."""

    exit_code = 2


class OverErrorBudget(WinnowError):
    """More samples failed than `max_errors` allows. Exit code 3."""

    exit_code = 3


class NothingSelected(WinnowError):
    """The run ended without an error and kept no sample. Exit code 3."""

    exit_code = 3


class Unanswered(WinnowError):
    """Too many replies of a model hold no answer. Exit code 3."""

    exit_code = 3


class OutOfRoom(Unanswered):
    """The first replies of a model all ended before the answer. `field` is the field of the operator that asked."""

    def __init__(self, field: str, said: str, tokens: int):
        super().__init__(
            f"{field}: {said}. A model that thinks first, or says much before it comes to the point, needs more room: "
            f"set {field}.max_tokens={tokens}, or ask another model. What was answered is kept"
        )
        self.said = said
        self.tokens = tokens


def allowed_by(share: float, of: int) -> int:
    """The most of so many samples or records that may fail, where that share of them may.

    The share counts as it is written: 0.29 of 100 are 29, and with floats they would be fewer.
    """
    return int(Decimal(str(share)) * of)


def first_line(error: BaseException) -> str:
    """The first line of an error's message that is not blank, or the name of its class where there is none."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


class Refused(UsageError):
    """Several things are wrong. The message has a line for each."""

    def __init__(self, errors: Sequence[Exception]):
        super().__init__("\n".join(map(str, errors)))
        self.errors = errors


class ModelsMissing(ModelMissing):
    """Several models are missing, and nothing else is wrong. The message has a line for each."""

    def __init__(self, errors: Sequence[Exception]):
        super().__init__("\n".join(map(str, errors)))
        self.errors = errors


def each_of(error: Exception) -> Sequence[Exception]:
    """Returns the errors that one error stands for; the error itself if it is a single one."""
    return error.errors if isinstance(error, Refused | ModelsMissing) else [error]


def refuse(errors: Iterable[Exception]) -> None:
    """Raises the error if there is one, or one error for several, which says each once. Does nothing without errors."""
    different = list({str(each): each for error in errors for each in each_of(error)}.values())
    if len(different) == 1:
        raise different[0]
    if different:
        raise (ModelsMissing if all(isinstance(error, ModelMissing) for error in different) else Refused)(different)


def together(checks: Iterable[Callable[[], Any]]) -> list[Any]:
    """Calls all of the functions. Returns their results, in order, or raises all of their errors at once by `refuse`.

    A ValueError is raised as a UsageError.
    """
    found, errors = [], []
    for check in checks:
        try:
            found.append(check())
        except (UsageError, ModelMissing) as error:
            errors.append(error)
        except ValueError as error:
            errors.append(UsageError(str(error)))
    refuse(errors)
    return found
