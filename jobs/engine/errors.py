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
    """Several things are wrong as they were given. Exit code 2; 1 where nothing but models is missing."""

    def __init__(self, errors: Sequence[Exception]):
        super().__init__("\n  ".join([f"{len(errors)} things are to be mended:", *map(str, errors)]))
        self.errors = errors
        if all(isinstance(error, ModelMissing) for error in errors):
            self.exit_code = 1


def refuse(errors: Iterable[Exception]) -> None:
    """Nothing where there is no error; raises the one there is, or several as one Refused that tells each once."""
    flat = [one for error in errors for one in (error.errors if isinstance(error, Refused) else [error])]
    told = list({str(error): error for error in flat}.values())
    if told:
        raise told[0] if len(told) == 1 else Refused(told)


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
