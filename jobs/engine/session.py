"""A run's surroundings: the cluster it is connected to, its store, its profile, and what it has done so far."""

import logging
import os
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import ray

from jobs.engine.profile import Profile
from jobs.engine.screen import say
from jobs.engine.store import Store


@dataclass(frozen=True)
class Session:
    """What pools need to execute their verbs; nothing in it changes what is computed."""

    store: Store
    profile: Profile = field(default_factory=Profile)
    max_errors: float = 0.01
    retry_errors: bool = False
    command: str = ""
    """What repeats the run when it is typed; it goes to the manifest."""
    run: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    log: list[dict[str, Any]] = field(default_factory=list)
    """One entry a verb, in order: what ran, on how many samples, for how long. It goes to the manifest."""


def connect(profile: Profile) -> None:
    """Connects to the cluster that RAY_ADDRESS names (as `ray job submit` sets it), else starts Ray here."""
    if ray.is_initialized():
        return
    interactive = sys.stdout.isatty()
    level = logging.INFO if interactive else logging.ERROR
    if os.environ.get("RAY_ADDRESS"):
        ray.init(logging_level=logging.WARNING)
    else:
        say("starting Ray on this machine ...")
        # Ray's C++ core writes warnings of its own affairs to the terminal, and a line that says it was told not to.
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        with _without_stderr():
            ray.init(
                address="local",
                num_cpus=profile.local_cpus,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
    logging.getLogger("ray.data").setLevel(level)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = interactive
    context.execution_options.verbose_progress = False


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
