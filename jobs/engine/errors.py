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
