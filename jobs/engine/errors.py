"""What can go wrong in a way that a person can mend; each error knows the exit code of its command."""


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
