"""One writer at a time: a lock file with an owner and a lease, which is taken over when the owner is gone."""

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from jobs.engine.store.folder import Folder
from jobs.engine.store.lock_file import NAME, SETTLING_SECONDS, LockFile, Owner, lock_file
from jobs.engine.terminal.ending import at_the_latest
from jobs.engine.terminal.errors import WinnowError
from jobs.engine.terminal.place_errors import regardless

LEASE_SECONDS = 60.0
BEAT_SECONDS = 10.0

_held: set[str] = set()
"""The tokens of the locks that this process has."""

Say = Callable[[str], None]


class StoreBusy(WinnowError):
    """Another run writes to this store."""


@contextmanager
def locked(folder: str, say: Say, lease: float = LEASE_SECONDS, settling: float = SETTLING_SECONDS) -> Iterator[None]:
    """Holds the lock of a folder, or of a place at a URL, while the block runs. StoreBusy if a running process has it.

    The owner renews its lease. A lock is taken over if its process on this machine has ended. If the owner may still
    run, the lock is watched for the time of a lease (in seconds), and taken over if it is not renewed in that time.
    settling: as SETTLING_SECONDS.
    """
    place = Folder.at(folder)
    place.make()
    lock = lock_file(place, settling)
    owner = {"token": uuid.uuid4().hex, "host": socket.gethostname(), "pid": os.getpid(), "pids": _pids()}
    tried: set[str] = set()
    while not lock.created(owner) and not _taken_over(lock, owner, folder, say, lease, tried):
        pass
    _held.add(owner["token"])
    stop = threading.Event()
    beat = threading.Thread(target=_renew, args=(lock, owner, folder, say, stop, lease), daemon=True)
    beat.start()
    try:
        with at_the_latest(partial(_release, lock, owner)):
            yield
    finally:
        stop.set()
        beat.join()
        _release(lock, owner)
        _held.discard(owner["token"])


def _release(lock: LockFile, owner: Owner) -> None:
    """Gives the lock back. If the place cannot be reached any more, its lease runs out."""
    with regardless():
        lock.release(owner)


def _renew(lock: LockFile, owner: Owner, folder: str, say: Say, stop: threading.Event, lease: float) -> None:
    while not stop.wait(min(BEAT_SECONDS, lease / 6)):
        with regardless():
            if not lock.renewed(owner):
                say(f"{folder}: another run took the lock over, because this one did not renew it in time")
                return


def _process_lives(owner: Owner) -> bool:
    """Whether the owner may still run. A process on another machine, or in another container, always may."""
    if owner.get("host") != socket.gethostname() or owner.get("pids", _pids()) != _pids():
        return True
    if owner["pid"] == os.getpid():  # a container that was started again gives its process the same number
        return owner["token"] in _held
    try:
        os.kill(int(owner["pid"]), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _pids() -> str:
    """Tells containers that share the name of a machine apart, whose processes have numbers of their own."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:  # a system other than Linux
        return ""


def _taken_over(lock: LockFile, owner: Owner, folder: str, say: Say, lease: float, tried: set[str]) -> bool:
    """Waits until the lock is free or stale. Returns whether it was taken over.

    tried: the tokens of the owners from whom it could not be taken over so far. StoreBusy if its owner renews it, or if
    another run began to take it over and did not go on.
    """
    seen = lock.owner()
    name = f"process {seen.get('pid', '?')} on {seen.get('host', '?')}"
    deadline = time.monotonic() + lease
    said = False
    while time.monotonic() < deadline and (not seen or _process_lives(seen)):
        now = lock.owner()
        if not now and not Folder.at(folder).exists(NAME):
            return False
        if seen and now.get("renewed") != seen.get("renewed"):
            raise StoreBusy(
                f"{folder} is in use by {name}, which renewed its lock a moment ago. "
                "Wait for that run to end, or give this one another --store."
            )
        if not said:
            say(f"{folder} is locked by {name}; checking whether it still runs ...")
            said = True
        seen = seen or now
        time.sleep(min(0.5, lease / 20))
    if not lock.taken_over(seen, owner):
        if seen.get("token", "") in tried:
            raise StoreBusy(
                f"{folder}: the lock of {name}, which is gone, cannot be taken over, because another run began to and "
                f"did not go on. If no run uses {folder}, remove {NAME} and the files lock-*.taken there"
            )
        tried.add(seen.get("token", ""))
        return False
    say(f"{folder}: took over the lock of {name}, which is gone")
    return True
