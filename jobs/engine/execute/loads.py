"""Loads the operator of a map in its workers, and counts the loads: one file per worker, beside the attempts.

Ray starts a worker anew as often as it dies. One that dies each time while it loads, such as for lack of memory, would
keep its map waiting until the clock of a stall has run out, and nothing would say why.
"""

import os
from contextlib import suppress
from dataclasses import dataclass
from socket import gethostname
from typing import Any

import ray

from jobs.engine.execute.device_errors import device_lost, end_process, out_of_memory
from jobs.engine.execute.gpus import keep_to_share
from jobs.engine.store.folder import Folder
from operators.base import Operator

MOST = 5
"""How many processes of one worker may end while they load; the next one does not try."""
MOST_LOST = 3
"""The same where each of them lost its GPU, which it can tell."""
PRINTED = "See root cause above"
"""Words of vLLM where a process of its engine did not start: why is only in what that process printed."""
SUFFIX = ".load"


class LoadFailed(Exception):
    """The operator could not be loaded in a worker."""


@dataclass(frozen=True)
class Loads:
    """The loads of a map's workers, noted in a folder.

    A worker's file has a byte for each load that was begun since the last one that ended; it is empty after that.
    """

    folder: str

    def begin(self) -> int:
        """Notes that this worker begins to load; returns how many of its processes ended while they did, in a row."""
        folder, name = Folder(self.folder), _worker()
        ended = len(folder.content(name)) if folder.exists(name) else 0
        folder.write(name, b"x" * (ended + 1))
        return ended

    def end(self) -> None:
        """Notes that this worker has loaded, or knows why it cannot."""
        Folder(self.folder).write(_worker(), b"")

    def stall(self, name: str) -> str:
        """Why a map stands still, as far as its loads say; name: the column's name."""
        folder = Folder(self.folder)
        lengths = [len(folder.content(each)) for each in folder.names() if each.endswith(SUFFIX)]
        if not lengths:
            return f"no worker of {name} has started, as the cluster had no room for one"
        if all(lengths):
            again = f", {sum(lengths):,} times altogether" if sum(lengths) > len(lengths) else ""
            return f"{len(lengths):,} workers began to load the operator {name}{again}, and none has loaded it"
        longer = "or a batch takes longer than that, for which the profile needs more stall_seconds or fewer rows"
        return f"the operator {name} is stuck, {longer}"


def loaded(operator: Operator, loads: Loads) -> Any:
    """What the operator's `load` returns.

    A process that loses its GPU meanwhile ends, and Ray starts another in its place, perhaps on another GPU. LoadFailed
    where that has happened too often, and for any other error.
    """
    failed = f"{type(operator).__name__} could not be loaded"
    ended = loads.begin()
    if ended >= MOST:
        raise LoadFailed(
            f"{failed}: {ended} processes of one worker ended while they loaded it and left no error; the next one is "
            f"on {gethostname()}. Most often a node has too little memory for the workers that load at a time: set "
            "fewer workers in the profile, or the memory that each of them takes"
        )
    try:
        keep_to_share()
        compute = operator.load()
    except Exception as error:
        said = f"{failed}: {type(error).__name__}: {error}"
        if PRINTED in said:
            said += f" (see {_printed()} on {gethostname()})"
        if out_of_memory(error):
            said += f" (on {gethostname()}: its GPU is too small for that, or others use it)"
        if device_lost(error):
            if ended + 1 < MOST_LOST:
                end_process()
            said += f" (the last of {ended + 1} processes that lost their GPU so, on {gethostname()})"
        loads.end()
        raise LoadFailed(said) from error
    loads.end()
    return compute


def _printed() -> str:
    """The file that this process and its children print to, as far as the system tells."""
    with suppress(OSError):
        return os.readlink("/proc/self/fd/2")
    return "the log of the worker"


def _worker() -> str:
    """The name of the file of this worker: a process that Ray starts in the place of a dead one has the same."""
    actor = ray.get_runtime_context().get_actor_id() if ray.is_initialized() else None
    return f"{actor or 'here'}{SUFFIX}"
