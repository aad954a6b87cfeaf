"""One writer at a time: a lock file with an owner and a lease, which is taken over when the owner is gone."""

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import fsspec

from jobs.engine.terminal.errors import WinnowError

LEASE_SECONDS = 60.0
BEAT_SECONDS = 10.0


class StoreBusy(WinnowError):
    """Another run writes to this store."""


@contextmanager
def locked(folder: str, say: Callable[[str], None], lease: float = LEASE_SECONDS) -> Iterator[None]:
    """Holds the lock of a folder while the block runs. StoreBusy if a running process holds it.

    The owner renews its lease. A lock is taken over if its process on this machine has ended. If the owner may still
    run, the lock is watched for the time of a lease (in seconds), and taken over if it is not renewed in that time.
    """
    fs, root = fsspec.core.url_to_fs(folder)
    fs.makedirs(root, exist_ok=True)
    path = f"{root}/lock.json"
    token = uuid.uuid4().hex
    while not _created(fs, path, token):
        _wait_until_stale(fs, path, folder, say, lease)
    stop = threading.Event()
    beat = threading.Thread(target=_renew, args=(fs, path, token, stop, lease), daemon=True)
    beat.start()
    try:
        yield
    finally:
        stop.set()
        beat.join()
        if _owner(fs, path).get("token") == token:
            fs.rm(path)


def _record(token: str) -> bytes:
    owner = {"token": token, "host": socket.gethostname(), "pid": os.getpid(), "renewed": time.time()}
    return json.dumps(owner).encode()


def _created(fs: fsspec.AbstractFileSystem, path: str, token: str) -> bool:
    try:
        opened: Any = fs.open(path, "xb")
        with opened as file:
            file.write(_record(token))
    except FileExistsError:
        return False
    return True


def _owner(fs: fsspec.AbstractFileSystem, path: str) -> dict:
    try:
        return json.loads(fs.cat_file(path) or b"{}")
    except (FileNotFoundError, json.JSONDecodeError):
        return {}


def _renew(fs: fsspec.AbstractFileSystem, path: str, token: str, stop: threading.Event, lease: float) -> None:
    while not stop.wait(min(BEAT_SECONDS, lease / 6)):
        if _owner(fs, path).get("token") not in (token, None):
            return
        fs.pipe_file(path, _record(token))


def _process_lives(owner: dict) -> bool:
    """Whether the owner may still run. A process on another machine always may."""
    if owner.get("host") != socket.gethostname():
        return True
    try:
        os.kill(int(owner["pid"]), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _wait_until_stale(
    fs: fsspec.AbstractFileSystem, path: str, folder: str, say: Callable[[str], None], lease: float
) -> None:
    """Returns when the lock is free or has been removed as stale. StoreBusy if its owner renews it."""
    seen = _owner(fs, path)
    name = f"process {seen.get('pid', '?')} on {seen.get('host', '?')}"
    deadline = time.monotonic() + lease
    said = False
    while time.monotonic() < deadline and (not seen or _process_lives(seen)):
        now = _owner(fs, path)
        if not fs.exists(path):
            return
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
    # Only one of several waiting runs can rename the stale lock; the others find it gone and try again.
    stale = f"{path}.{uuid.uuid4().hex}.stale"
    try:
        fs.mv(path, stale)
    except FileNotFoundError:
        return
    if _owner(fs, stale).get("token") != seen.get("token"):
        fs.mv(stale, path)
        return
    fs.rm(stale)
    say(f"{folder}: took over the lock of {name}, which is gone")
