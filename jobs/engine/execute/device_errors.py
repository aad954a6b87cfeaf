"""Errors of a device instead of a row: a GPU that this process can no longer use, and memory that was full.

After a CUDA error, such as an illegal memory access, every later call on the GPU fails in the same process, whatever
its rows. An error is known by its name and message, because torch and vLLM are not imported here.
"""

import contextlib
import gc
import os
import sys
from collections.abc import Iterator

import psutil

from operators.base import DeviceLost

ENGINE = "EngineDeadError"
"""The name of vLLM's error after the process of its engine ended."""
OUT_OF_MEMORY = "OutOfMemoryError"
FULL = ("out of memory", "STATUS_ALLOC_FAILED")
SIGNS = ("CUDA error", "CUDA driver error", "cuDNN error", "Triton Error [CUDA]", "HIP error")
"""Words in messages of errors after which the device is of no more use to the process."""
KILL_SECONDS = 10.0


def out_of_memory(error: BaseException) -> bool:
    """Whether a device had too little memory. The process can go on with fewer rows."""
    if device_lost(error):
        return False
    return any(_named(each, OUT_OF_MEMORY) or _says(each, FULL) for each in _chain(error))


def device_lost(error: BaseException) -> bool:
    """Whether this process can no longer use its GPU, or the engine that had it."""
    return any(
        isinstance(each, DeviceLost) or _named(each, ENGINE) or (_says(each, SIGNS) and not _says(each, FULL))
        for each in _chain(error)
    )


def free_cached_memory() -> None:
    """Gives the memory of dropped tensors back to the device."""
    gc.collect()
    if torch := sys.modules.get("torch"):
        torch.cuda.empty_cache()


def end_process() -> None:
    """Ends this process at once, and its children, one of which may hold the GPU; does not return."""
    children = psutil.Process().children(recursive=True)
    for child in children:
        with contextlib.suppress(psutil.Error):
            child.kill()
    psutil.wait_procs(children, timeout=KILL_SECONDS)
    os._exit(1)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and those that led to it."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        yield error
        error = error.__cause__ or error.__context__


def _named(error: BaseException, name: str) -> bool:
    return any(kind.__name__ == name for kind in type(error).__mro__)


def _says(error: BaseException, words: tuple[str, ...]) -> bool:
    return isinstance(error, RuntimeError) and any(word in str(error) for word in words)
