"""What Ray raises, in our words: one line for the screen, and all that Ray says in a file that the line names.

<store>/logs/<run>.log    the errors of a run, with the traceback of the driver and that of the worker
"""

import traceback

import fsspec
from ray.exceptions import RayTaskError

from jobs.engine.execute.session import Session, first_line
from jobs.engine.terminal.errors import WinnowError


def cause(error: Exception) -> str:
    """What went wrong on a worker, in one line; what was worded for people on the worker is told whole."""
    found = error.cause if isinstance(error, RayTaskError) else error
    return str(found) if isinstance(found, WinnowError) else first_line(found)


def failure(told: str, error: Exception, session: Session) -> WinnowError:
    """The error to raise for one of Ray's: what is told of it, and the log that has its traceback."""
    path = f"{session.store.url}/logs/{session.run}.log"
    fs, root = fsspec.core.url_to_fs(path)
    entry = "".join([told, "\n", *traceback.format_exception(error), "\n"]).encode()
    try:
        fs.makedirs(fs._parent(root), exist_ok=True)
        fs.pipe_file(root, (fs.cat_file(root) if fs.exists(root) else b"") + entry)
    except OSError:
        return WinnowError(told)
    return WinnowError(f"{told.removesuffix('.')}. All that Ray says of it is in {path}")
