"""Errors of places: a file system, a server behind a URL, or the way to it. The message names the place."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

CLIENTS = frozenset(("adlfs", "aiobotocore", "aiohttp", "azure", "botocore", "gcsfs", "google", "requests", "s3fs"))
"""The packages that speak with servers. Some of their errors are no OSError."""

UNEXPLAINED = "Bad Request"
"""S3's message for any wrong HEAD request, whose answer has no body that could say more."""

NUMBERS = {
    FileExistsError: errno.EEXIST,
    FileNotFoundError: errno.ENOENT,
    PermissionError: errno.EACCES,
    TimeoutError: errno.ETIMEDOUT,
}
"""The numbers of errors that are raised without one."""


def of_a_place(error: BaseException) -> bool:
    """Whether an error is about a file, a folder or a server, and not about the program."""
    return isinstance(error, OSError) or any(
        each.__module__.partition(".")[0] in CLIENTS for each in type(error).__mro__[:-1]
    )


@contextmanager
def naming(place: str) -> Iterator[None]:
    """Raises an error of the place, in the block, as an OSError of its kind that names the place.

    An error that names a file, as those of the local disk do, is raised as it is.
    """
    try:
        yield
    except Exception as error:
        if not of_a_place(error) or getattr(error, "filename", None) is not None:
            raise
        number = getattr(error, "errno", None) or next(
            (number for kind, number in NUMBERS.items() if isinstance(error, kind)), errno.EIO
        )
        raise OSError(number, _said(error, number), place) from error


@contextmanager
def regardless() -> Iterator[None]:
    """Passes over an error of a place in the block. For what tidies up, which is not to hide an error before it."""
    try:
        yield
    except Exception as error:
        if not of_a_place(error):
            raise


def _said(error: Exception, number: int) -> str:
    """What an error says, on one line; what its number means if it says nothing."""
    said = getattr(error, "strerror", None) or str(error)
    line = " ".join(str(said).split()).rstrip(".") or os.strerror(number)
    return f"{line} (an expired token is answered like this)" if line == UNEXPLAINED else line
