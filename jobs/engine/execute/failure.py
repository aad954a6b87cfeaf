"""Errors from Ray as one line on the screen. The line names a log file that has the full traceback.

<store>/logs/<run>.log    the errors of a run, with the tracebacks of the driver and of the worker
"""

import traceback

import fsspec
from ray.exceptions import RayTaskError

from jobs.engine.execute.session import Session, first_line
from jobs.engine.terminal.errors import WinnowError


def cause(error: Exception) -> str:
    """The cause of an error on a worker: the whole message of a WinnowError, else the first line of the message."""
    found = error.cause if isinstance(error, RayTaskError) else error
    return str(found) if isinstance(found, WinnowError) else first_line(found)


def failure(message: str, error: Exception, session: Session) -> WinnowError:
    """The WinnowError to raise for an error of Ray: the message, and the path of the log with the traceback.

    The traceback is appended to the log. Where the log cannot be written, the message is alone.
    """
    path = f"{session.store.url}/logs/{session.run}.log"
    fs, root = fsspec.core.url_to_fs(path)
    entry = "".join([message, "\n", *traceback.format_exception(error), "\n"]).encode()
    try:
        fs.makedirs(fs._parent(root), exist_ok=True)
        fs.pipe_file(root, (fs.cat_file(root) if fs.exists(root) else b"") + entry)
    except OSError:
        return WinnowError(message)
    return WinnowError(f"{message.removesuffix('.')}. The full traceback is in {path}")
