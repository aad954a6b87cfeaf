"""How a process ends that gets SIGTERM, as one that is preempted does: in time, and with nothing left locked."""

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
"""How long a command may take to unwind: to cancel what it waits for, to give locks back, to end a Ray of its own."""
LAST_SECONDS = 5.0
"""How long the last actions of a process may take that has not ended by itself."""

_last: list[Callable[[], None]] = []


@contextmanager
def at_the_latest(action: Callable[[], None]) -> Iterator[None]:
    """Has an action done if the process is made to end before the block has ended by itself."""
    _last.append(action)
    try:
        yield
    finally:
        _last.remove(action)


def end_in_time(number: int, frame: FrameType | None) -> None:
    """The handler of SIGTERM: raises SystemExit, and ends the process if it still runs after UNWINDING_SECONDS."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one would break off what the first one has begun
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
