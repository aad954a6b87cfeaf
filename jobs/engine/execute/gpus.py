"""The GPUs of a worker: those that Ray assigned to it, and no others."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray

VISIBLE = "CUDA_VISIBLE_DEVICES"
NONE = ""
"""The value of the variable that hides all GPUs."""


def hide_other_gpus() -> None:
    """Hides the GPUs of the node from this process if Ray assigned none to it; it is called before torch is imported.

    Ray sets the variable only in a worker that has GPUs. Any other worker would see all of them and use the first.
    """
    if not ray.get_gpu_ids():
        os.environ[VISIBLE] = NONE


def keep_to_share() -> None:
    """Bounds the memory of this process to its share of a GPU, if Ray assigned it a share; torch is imported for it.

    More than that is a lack of memory, as on a GPU of that size: passes become smaller, and other workers do not fail.
    """
    if not ray.is_initialized() or ray.get_runtime_context().get_actor_id() is None:
        return
    share = ray.get_runtime_context().get_assigned_resources().get("GPU", 0)
    if not 0 < share < 1:
        return
    import torch  # noqa: PLC0415 - the driver does without it

    if torch.cuda.is_available():
        torch.cuda.set_per_process_memory_fraction(share)


@dataclass(frozen=True)
class Task:
    """A function as a task of Ray, for workers with and without GPUs.

    Ray uses a worker's process again for later calls. After a call on a GPU the process would keep CUDA's memory, and
    it would stay on that GPU, whichever Ray assigns next. So such a process ends with the call. Ray reads `max_calls`
    from the decorator and drops it from `.options`, hence the two.
    """

    reused: Any
    once: Any

    def on(self, gpus: float) -> Any:
        """The remote function for a worker with this many GPUs, which its `.options` still have to request."""
        return self.once if gpus else self.reused


def task(function: Callable[..., Any], max_retries: int = 3) -> Task:
    """A function as a task that requests one CPU; it calls `hide_other_gpus` first."""
    return Task(
        reused=ray.remote(num_cpus=1, max_retries=max_retries)(function),
        once=ray.remote(num_cpus=1, max_retries=max_retries, max_calls=1)(function),
    )
