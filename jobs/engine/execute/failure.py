"""Errors from Ray as one line on the screen. The line names a log file that has the full traceback.

<store>/logs/<run>.log    the errors of a run, with the tracebacks of the driver and of the worker
"""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from ray.exceptions import RayError, RayTaskError

from jobs.engine.execute.session import Session
from jobs.engine.store.folder import Folder
from jobs.engine.terminal.errors import WinnowError, first_line


def cause(error: Exception) -> str:
    """The cause of an error on a worker: the whole message of a WinnowError, else the first line of the message."""
    found = error.cause if isinstance(error, RayTaskError) else error
    return str(found) if isinstance(found, WinnowError) else first_line(found)


@contextmanager
def told(name: str, session: Session) -> Iterator[None]:
    """Raises an error of Ray in the block as a WinnowError whose message begins with a name, such as a column's."""
    try:
        yield
    except RayError as error:
        raise failure(f"{name}: {cause(error)}", error, session) from error


def failure(message: str, error: Exception, session: Session) -> WinnowError:
    """The WinnowError to raise for an error of Ray: the message, and the path of the log with the traceback.

    The traceback is appended to the log. Where the log cannot be written, the message is alone.
    """
    logs, name = Folder(f"{session.store.url}/logs"), f"{session.run}.log"
    entry = "".join([message, "\n", *traceback.format_exception(error), "\n"]).encode()
    try:
        logs.make()
        logs.write(name, (logs.content(name) if logs.exists(name) else b"") + entry)
    except OSError:
        return WinnowError(message)
    return WinnowError(f"{message.removesuffix('.')}. The full traceback is in {logs.file(name)}")
