"""A reduce: a kernel over whole columns, in one task on a worker."""

import inspect
import os
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import ray
from ray.exceptions import RayError

from jobs.engine.execute.failure import cause, failure
from jobs.engine.execute.session import Session, largest_node_cpus
from jobs.engine.store.feature import Feature
from jobs.engine.terminal.screen import say


class Stored(NamedTuple):
    """Values that a worker reads from the store."""

    feature: Feature
    field: str
    ids: np.ndarray
    """The ids to read, in the order in which the kernel is given their values."""


Rows = Stored | np.ndarray
"""One array of a kernel: values in the store, or values at hand."""


def reduced(
    kernel: Callable[..., Any], columns: Mapping[str, Rows], rows: int, params: Mapping[str, Any], session: Session
) -> Any:
    """What the kernel returns of these columns, which all have so many rows, and the parameters.

    WinnowError where the kernel fails or its worker ends.
    """
    profile = session.profile
    began = time.monotonic()
    if profile.reduce_gpus and "device" in inspect.signature(kernel).parameters:
        params = {"device": "cuda", **params}
    task = _reduced.options(num_gpus=profile.reduce_gpus, name=kernel.__name__)
    threads = profile.reduce_threads or int(largest_node_cpus())
    try:
        result = ray.get(task.remote(kernel, list(columns.values()), dict(params), threads))
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


# One CPU in Ray's books, whatever the threads: asking for a whole node could wait for ever on a shared cluster.
@ray.remote(num_cpus=1)
def _reduced(kernel: Callable[..., Any], columns: list[Rows], params: dict[str, Any], threads: int) -> Any:
    import torch  # the driver does without it

    torch.set_num_threads(max(1, min(threads, os.cpu_count() or 1)))
    arrays = [each.feature.values(each.ids, each.field) if isinstance(each, Stored) else each for each in columns]
    return kernel(*arrays, **params)
