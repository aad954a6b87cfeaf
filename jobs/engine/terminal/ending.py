"""The end of a process that receives SIGTERM, for example because it is preempted: soon, and with no lock left."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

CODE = 128 + signal.SIGTERM
UNWINDING_SECONDS = 10.0
"""The time that a command has to unwind: to wait for its tasks, to release its locks, and to stop a Ray of its own."""
LAST_SECONDS = 5.0
"""The time for the last actions of a process that has not ended by itself."""

_last: list[Callable[[], None]] = []


@contextmanager
def at_the_latest(action: Callable[[], None]) -> Iterator[None]:
    """Runs an action where the process is forced to end before the block has ended."""
    _last.append(action)
    try:
        yield
    finally:
        _last.remove(action)


def end_in_time(number: int, frame: FrameType | None) -> None:
    """The handler of SIGTERM: raises SystemExit, and ends the process if it still runs after UNWINDING_SECONDS."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one would interrupt what the first one has begun
    threading.Thread(target=_end, daemon=True).start()
    sys.exit(CODE)


def _end() -> None:
    time.sleep(UNWINDING_SECONDS)
    actions = [threading.Thread(target=action, daemon=True) for action in _last]
    for thread in actions:
        thread.start()
    deadline = time.monotonic() + LAST_SECONDS
    for thread in actions:
        thread.join(max(0.0, deadline - time.monotonic()))
    os._exit(CODE)
