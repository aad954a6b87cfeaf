"""Runs a reduce: a kernel over whole columns, in one task on a worker, or over shards of the rows on several.

A worker, a node or a GPU that dies takes the reduce with it. It starts again from the store, with the same result.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

import ray
from ray.exceptions import (
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayActorError,
    RayError,
    RayTaskError,
    WorkerCrashedError,
)

from jobs.engine.execute.device_errors import device_lost, out_of_memory
from jobs.engine.execute.failure import cause, failure
from jobs.engine.execute.reduce_worker import EVERY, REDUCE, Found, Request
from jobs.engine.execute.rows import Rows
from jobs.engine.execute.session import Session
from jobs.engine.execute.spread import spread
from jobs.engine.terminal.screen import say

AGAIN = 3
"""How many times a reduce starts again after a worker or a node has died."""
LESS = "; less reduce_bytes divides the rows among more GPUs, and reduce_gpus: 0 computes on CPUs (in the profile)"
"""What to do where a GPU had too little memory for a reduce."""
DIED = (RayActorError, WorkerCrashedError, NodeDiedError, ObjectLostError, OutOfMemoryError)


def reduced(
    kernel: Callable[..., Any], columns: Mapping[str, Rows], rows: int, params: Mapping[str, Any], session: Session
) -> Any:
    """Calls a kernel on workers and returns its result.

    columns: the kernel's array arguments, by name, in order, each with `rows` rows. params: its other arguments.
    WinnowError where the kernel fails, or its workers die four times.
    """
    began = time.monotonic()
    names = list(columns)
    shown = ", ".join(names) if len(names) < 5 else f"{names[0]} … {names[-1]} ({len(names)} columns)"

    def asked() -> Request:
        where = spread(kernel, columns, rows, session.profile)
        return Request(kernel, list(columns.values()), rows, dict(params), where, session.profile.stall_seconds)

    shards, found = found_by(asked, f"{kernel.__name__} of {', '.join(columns)}", session)
    seconds = time.monotonic() - began
    sharded = {"shards": shards, "rounds": found.rounds, "bytes": found.moved} if shards > 1 else {}
    entry = {"reduce": kernel.__name__, "columns": names, "samples": rows, "seconds": round(seconds, 2), **sharded}
    session.log.append(entry)
    over = f" over {shards} shards" if sharded else ""
    say(f"{kernel.__name__}: {rows:,} samples of {shown}{over} in {seconds:,.1f} s")
    return found.result


def found_by(asked: Callable[[], Request], what: str, session: Session) -> tuple[int, Found]:
    """The number of shards of a reduce and what it finds; it is asked for again where a worker dies.

    The nodes that are left may have room for other shards than before. WinnowError, which begins with `what`, where it
    fails.
    """
    for start in range(AGAIN + 1):
        request = asked()
        try:
            return request.spread.shards, _once(request)
        except RayError as error:
            found = error.cause if isinstance(error, RayTaskError) else error
            died = isinstance(found, DIED) or device_lost(found)
            if not died or start == AGAIN:
                more = f"; it was started {AGAIN + 1} times" if died else LESS if out_of_memory(found) else ""
                raise failure(f"{what}: {cause(error).removesuffix('.')}{more}", error, session) from error
            say(f"{what}: a worker died ({cause(error)}); starting again from the store, {start + 1} of {AGAIN} times")
    raise AssertionError


def _once(request: Request) -> Found:
    """Starts the task of a reduce, and prints its lines until it has found something."""
    where = request.spread
    cpus = 0 if where.shards > 1 else where.cpus  # while the shards work the task waits
    gpus = where.gpus if where.shards == 1 else 0
    remote = REDUCE.on(gpus).options(num_cpus=cpus, num_gpus=gpus, name=request.kernel.__name__)
    found: Found | None = None
    items = remote.remote(request)
    while not ray.wait([items], timeout=EVERY)[0]:
        taken = f"{cpus:g} CPUs and {gpus:g} GPUs" if gpus else f"{cpus:g} CPUs"
        say(f"{request.kernel.__name__}: waiting for a worker with {taken}, for which the cluster has no room yet")
    # To the end, although the result is the last item: Ray 2.60 aborts the driver where a task ends whose items nobody
    # waits for ("Tried to complete task that was not pending").
    for item in items:
        said = ray.get(item)
        if isinstance(said, Found):
            found = said
        elif said:
            say(f"{request.kernel.__name__}: {said}")
    if found is None:
        raise AssertionError("a reduce ended without a result")
    return found
