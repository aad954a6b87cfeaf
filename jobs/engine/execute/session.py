"""The session of a run: its store, its profile, its record so far, and the connection to a Ray cluster."""

import logging
import os
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import psutil
import ray
from ray._private.services import canonicalize_bootstrap_address

from jobs.engine.execute.profile import Profile
from jobs.engine.execute.shared import refuse_unshared
from jobs.engine.ingest import IngestSettings
from jobs.engine.store.folder import Folder
from jobs.engine.store.store import Store
from jobs.engine.terminal.arguments import MAX_UNREADABLE
from jobs.engine.terminal.errors import WinnowError, first_line
from jobs.engine.terminal.screen import say

AUTO = "auto"
JOIN_SECONDS = 5.0
PAUSE_SECONDS = 20.0
TOO_SLOW = "timed out during startup"
"""Part of Ray's error message where a machine is too busy for Ray to start within the 30 seconds that Ray waits."""


@dataclass(frozen=True)
class Session:
    """What pools need to read files and to run their verbs. Only `reading` changes the results."""

    store: Store
    profile: Profile = field(default_factory=Profile)
    max_errors: float = 0.01
    max_unreadable: float = MAX_UNREADABLE
    """The share of unreadable records in raw files above which a command fails."""
    reading: IngestSettings = field(default_factory=IngestSettings)
    """How raw files are read."""
    retry_errors: bool = False
    command: str = ""
    """The command line that repeats the run; it is written to the manifest."""
    run: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    log: list[dict[str, Any]] = field(default_factory=list)
    """One entry per verb, in order: what ran, on how many samples, for how long. It is written to the manifest."""


def connect(profile: Profile, place: Folder | None = None) -> None:
    """Connects to the cluster at RAY_ADDRESS, which `ray job submit` sets, or else starts Ray on this machine.

    place: a folder or URL that is there, and that all nodes have to share. WinnowError where there is no such cluster,
    where Ray does not start, and where a node does not see the place.
    """
    if not ray.is_initialized():
        _connect(profile)
    if place is not None:
        refuse_unshared(place)


def _connect(profile: Profile) -> None:
    earlier = signal.getsignal(signal.SIGTERM)
    interactive = sys.stdout.isatty()
    level = logging.INFO if interactive else logging.ERROR
    if address := os.environ.get("RAY_ADDRESS"):
        _join(address)
    else:
        say("starting Ray on this machine ...")
        # Ray's C++ core writes internal warnings to the terminal, and a line about its log level.
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        _start_twice(partial(_start, profile))
    if earlier is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, earlier)  # Ray put its own in place, with other exit codes
    context = ray.data.DataContext.get_current()  # first: Ray Data sets its loggers when it is imported
    logging.getLogger("ray.data").setLevel(level)
    # The command itself reports the error that ends a map, in one line that names the log with the traceback.
    for handler in logging.getLogger("ray.data").handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.addFilter(_below_error)
    context.enable_progress_bars = interactive
    context.execution_options.verbose_progress = False


def _below_error(record: logging.LogRecord) -> bool:
    return record.levelno < logging.ERROR


def _join(address: str) -> None:
    """Connects to a running cluster; WinnowError where there is none.

    address: as Ray takes it; "auto" is the head that runs on this machine, or else the one in Ray's file of the last
    cluster, which outlives a head that was killed. The port is tried first, because Ray would wait for 14 minutes where
    nothing listens (20 attempts of 41 seconds).
    """
    try:
        found = (canonicalize_bootstrap_address(address) or address) if address == AUTO else address
        place = urlsplit(found if "://" in found else f"//{found}")
        if place.hostname and place.port:
            socket.create_connection((place.hostname, place.port), JOIN_SECONDS).close()
        ray.init(address=found, logging_level=logging.WARNING)
    except (OSError, ValueError, RuntimeError) as error:
        raise WinnowError(
            f"RAY_ADDRESS={address}: no Ray cluster can be reached there ({first_line(error)}). Set it to the address "
            "of the head node, such as 10.0.0.1:6379, or unset RAY_ADDRESS to start Ray on this machine"
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
    """Starts Ray, with a second attempt after a pause of `pause` seconds where the first timed out.

    The timeout of Ray cannot be set. The processes that the first attempt left are killed before the second.
    WinnowError where Ray does not start.
    """
    for attempt in (1, 2):
        before = _children()
        try:
            start()
        except Exception as error:
            ray.shutdown()
            for process in _children() - before:
                with suppress(psutil.NoSuchProcess):  # it ended meanwhile
                    process.kill()
            if attempt == 2 or TOO_SLOW not in str(error):
                hint = "; is the machine busy?" if TOO_SLOW in str(error) else ""
                raise WinnowError(f"Ray did not start on this machine: {first_line(error)}{hint}") from error
            say(f"Ray did not start in time; trying again in {pause:g} s ...")
            time.sleep(pause)
        else:
            return


def _children() -> set[psutil.Process]:
    """The running child processes of this process, and their children."""
    return set(psutil.Process().children(recursive=True))


@contextmanager
def _without_stderr() -> Iterator[None]:
    """Discards what is written to standard error, also by native code; exceptions pass through."""
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
    """The number of CPUs of the largest live node; 1 where no node has a CPU."""
    return max((node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]), default=1.0) or 1.0
