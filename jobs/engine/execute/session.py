"""A run's surroundings: the cluster it is connected to, its store, its profile, and what it has done so far."""

import logging
import os
import socket
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import psutil
import ray

from jobs.engine.execute.profile import Profile
from jobs.engine.ingest import IngestSettings
from jobs.engine.store.store import Store
from jobs.engine.terminal.arguments import MAX_UNREADABLE
from jobs.engine.terminal.errors import WinnowError
from jobs.engine.terminal.screen import say

JOIN_SECONDS = 5.0
PAUSE_SECONDS = 20.0
TOO_SLOW = "timed out during startup"
"""What Ray says where a machine is too busy for it to start within the 30 seconds that it waits."""


@dataclass(frozen=True)
class Session:
    """What pools need to read files and to execute their verbs; but for `reading` nothing changes what comes out."""

    store: Store
    profile: Profile = field(default_factory=Profile)
    max_errors: float = 0.01
    max_unreadable: float = MAX_UNREADABLE
    """The share of the records of raw files that may be unreadable before a command fails."""
    reading: IngestSettings = field(default_factory=IngestSettings)
    """How raw files are read."""
    retry_errors: bool = False
    command: str = ""
    """What repeats the run when it is typed; it goes to the manifest."""
    run: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    log: list[dict[str, Any]] = field(default_factory=list)
    """One entry a verb, in order: what ran, on how many samples, for how long. It goes to the manifest."""


def connect(profile: Profile) -> None:
    """Connects to the cluster that RAY_ADDRESS names (as `ray job submit` sets it), else starts Ray here.

    WinnowError, in one line, where there is no such cluster or Ray does not start.
    """
    if ray.is_initialized():
        return
    interactive = sys.stdout.isatty()
    level = logging.INFO if interactive else logging.ERROR
    if address := os.environ.get("RAY_ADDRESS"):
        _join(address)
    else:
        say("starting Ray on this machine ...")
        # Ray's C++ core writes warnings of its own affairs to the terminal, and a line that says it was told not to.
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        _start_twice(partial(_start, profile))
    logging.getLogger("ray.data").setLevel(level)
    # What ends a map is told by the command, in one line that names the file with all that Ray says of it.
    for handler in logging.getLogger("ray.data").handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.addFilter(_below_error)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = interactive
    context.execution_options.verbose_progress = False


def _below_error(record: logging.LogRecord) -> bool:
    return record.levelno < logging.ERROR


def _join(address: str) -> None:
    """Connects to a running cluster; Ray itself would wait for minutes where nobody listens, and then abort."""
    place = urlsplit(address if "://" in address else f"//{address}")
    try:
        if place.hostname and place.port:
            socket.create_connection((place.hostname, place.port), JOIN_SECONDS).close()
        ray.init(logging_level=logging.WARNING)
    except (OSError, ValueError, RuntimeError) as error:
        raise WinnowError(
            f"RAY_ADDRESS={address}: no cluster of Ray can be reached there ({first_line(error)}). Name the address of "
            "its head, such as 10.0.0.1:6379, or unset RAY_ADDRESS to start Ray on this machine"
        ) from error


def _start(profile: Profile) -> None:
    with _without_stderr():
        ray.init(
            address="local",
            num_cpus=profile.local_cpus,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )


def _start_twice(start: Callable[[], None], pause: float = PAUSE_SECONDS) -> None:
    """Starts Ray; where that takes longer than Ray waits, once more after a pause. WinnowError where it does not start.

    How long Ray waits cannot be set. What the first start left is ended before the second.
    """
    for attempt in (1, 2):
        before = _children()
        try:
            start()
        except Exception as error:
            ray.shutdown()
            for process in _children() - before:
                process.kill()
            if attempt == 2 or TOO_SLOW not in str(error):
                hint = "; is the machine busy?" if TOO_SLOW in str(error) else ""
                raise WinnowError(f"Ray did not start on this machine: {first_line(error)}{hint}") from error
            say(f"Ray did not start in time; once more in {pause:g} s ...")
            time.sleep(pause)
        else:
            return


def _children() -> set[psutil.Process]:
    """The processes that this one, or one of them, has started, and that still run."""
    return set(psutil.Process().children(recursive=True))


def first_line(error: BaseException) -> str:
    """The first line of what an error says, or its kind where it says nothing."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


@contextmanager
def _without_stderr() -> Iterator[None]:
    """Sends what native code writes to standard error to nowhere; Python's exceptions pass."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def largest_node_cpus() -> float:
    """The CPUs of the largest living node."""
    return max((node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]), default=1.0) or 1.0
