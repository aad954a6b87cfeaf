"""Runs a reduce: a kernel over whole columns, in one task on a worker."""

import inspect
import os
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import ray
from ray.exceptions import RayError

from jobs.engine.execute.failure import cause, failure
from jobs.engine.execute.gpus import hide_other_gpus, task
from jobs.engine.execute.session import Session, largest_node_cpus
from jobs.engine.store.feature import Feature
from jobs.engine.terminal.screen import say


class Stored(NamedTuple):
    """Values in the store, which the worker reads itself."""

    feature: Feature
    field: str
    ids: np.ndarray
    """The ids to read, in the order in which the kernel gets their values; (n,) int64."""


Rows = Stored | np.ndarray
"""One array argument of a kernel: values in the store, or values in memory."""


def reduced(
    kernel: Callable[..., Any], columns: Mapping[str, Rows], rows: int, params: Mapping[str, Any], session: Session
) -> Any:
    """Calls a kernel on a worker and returns its result.

    columns: the kernel's array arguments, by name, in order, each with `rows` rows. params: its other arguments.
    WinnowError where the kernel fails or its worker dies.
    """
    profile = session.profile
    began = time.monotonic()
    gpus = profile.reduce_gpus if "device" in inspect.signature(kernel).parameters else 0.0
    if gpus:
        params = {"device": "cuda", **params}
    remote = REDUCE.on(gpus).options(num_gpus=gpus, name=kernel.__name__)
    threads = profile.reduce_threads or int(largest_node_cpus())
    try:
        result = ray.get(remote.remote(kernel, list(columns.values()), dict(params), threads))
    except RayError as error:
        raise failure(f"{kernel.__name__} of {', '.join(columns)}: {cause(error)}", error, session) from error
    seconds = time.monotonic() - began
    session.log.append(
        {"reduce": kernel.__name__, "columns": list(columns), "samples": rows, "seconds": round(seconds, 2)}
    )
    names = list(columns)
    shown = ", ".join(names) if len(names) < 5 else f"{names[0]} … {names[-1]} ({len(names)} columns)"
    say(f"{kernel.__name__}: {rows:,} samples of {shown} in {seconds:,.1f} s")
    return result


def reduce_here(kernel: Callable[..., Any], columns: list[Rows], params: dict[str, Any], threads: int) -> Any:
    """Calls a kernel in this worker; params: its arguments besides the columns."""
    hide_other_gpus()
    import torch  # not needed on the driver

    torch.set_num_threads(max(1, min(threads, os.cpu_count() or 1)))
    arrays = [each.feature.values(each.ids, each.field) if isinstance(each, Stored) else each for each in columns]
    return kernel(*arrays, **params)


# The task requests one CPU, whatever its number of threads: a request for a whole node could wait forever on a shared
# cluster.
REDUCE = task(reduce_here)
