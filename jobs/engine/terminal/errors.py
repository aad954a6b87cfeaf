"""What can go wrong in a way that a person can mend; each error knows the exit code of its command."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from operators.missing import ModelMissing


class WinnowError(Exception):
    """A failure with a message for people. Exit code 1."""

    exit_code = 1


class UsageError(WinnowError):
    """The command, a field or an input is wrong as it was given. Exit code 2."""

    exit_code = 2


class OverErrorBudget(WinnowError):
    """More samples failed than `max_errors` allows. Exit code 3."""

    exit_code = 3


class NothingSelected(WinnowError):
    """The run ended well and kept nothing. Exit code 3."""

    exit_code = 3


class Unanswered(WinnowError):
    """Too many of a model's replies hold no answer. Exit code 3."""

    exit_code = 3


class OutOfRoom(Unanswered):
    """A model's first replies all ended before there was an answer. `field` declares the operator that asked."""

    def __init__(self, field: str, said: str, tokens: int):
        super().__init__(
            f"{field}: {said}. A model that thinks first, or says much before it comes to the point, needs more room: "
            f"set {field}.max_tokens={tokens}, or ask another model. What was answered is kept"
        )
        self.said = said
        self.tokens = tokens


class Refused(UsageError):
    """Several things are wrong as they were given; a line tells each."""

    def __init__(self, errors: Sequence[Exception]):
        super().__init__("\n".join(map(str, errors)))
        self.errors = errors


class ModelsMissing(ModelMissing):
    """Several models are missing, and nothing else is wrong; a line tells each."""

    def __init__(self, errors: Sequence[Exception]):
        super().__init__("\n".join(map(str, errors)))
        self.errors = errors


def each_of(error: Exception) -> Sequence[Exception]:
    """The errors that one tells together."""
    return error.errors if isinstance(error, Refused | ModelsMissing) else [error]


def refuse(errors: Iterable[Exception]) -> None:
    """Nothing where there is no error; raises the one there is, or several as one that tells each once."""
    told = list({str(each): each for error in errors for each in each_of(error)}.values())
    if len(told) == 1:
        raise told[0]
    if told:
        raise (ModelsMissing if all(isinstance(error, ModelMissing) for error in told) else Refused)(told)


def together(looks: Iterable[Callable[[], Any]]) -> list[Any]:
    """What each of the looks returns, in order. Where some refuse, all are taken before it is said, as `refuse` does.

    A ValueError is told as a UsageError.
    """
    found, errors = [], []
    for look in looks:
        try:
            found.append(look())
        except (UsageError, ModelMissing) as error:
            errors.append(error)
        except ValueError as error:
            errors.append(UsageError(str(error)))
    refuse(errors)
    return found
