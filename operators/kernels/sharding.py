"""Kernels over shards: a class that holds some of the rows, and a driver that asks all shards and joins their answers.

    @sharded(Shard, cover)
    def k_center(points, k): return cover(here(Shard(points)), k)

The shards hold consecutive rows, in order. A driver function is called as driver(ask, tell=..., **parameters). It gives
the same result for any number of shards; one process is the case of one shard.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np

Ask = Callable[..., list[Any]]
"""ask(method, *arguments) calls a method of every shard and returns their answers, in the order of the shards."""
Tell = Callable[[str, float], None]
"""tell(words, share) says how far a driver is: in words, and as a share of the work, from 0 to 1."""
Kernel = TypeVar("Kernel", bound=Callable[..., Any])


class Sharding(NamedTuple):
    """The two pieces of a kernel."""

    shard: Callable[..., Any]
    """shard(*columns, offset=position of the first row) holds the rows; with device=... where it has that parameter."""
    driver: Callable[..., Any]
    parts: int | None = None
    """The number of parts of the rows, each of which has to lie in one shard; None where rows may be cut anywhere."""

    def cuts(self, rows: int, shards: int) -> list[int]:
        """The positions at which so many shards, or as many as there are parts, begin and end; shards + 1."""
        if self.parts is None:
            return [rows * shard // shards for shard in range(shards + 1)]
        shards = min(shards, self.parts)
        return [rows * (self.parts * shard // shards) // self.parts for shard in range(shards + 1)]


def sharded(
    shard: Callable[..., Any], driver: Callable[..., Any], parts: int | None = None
) -> Callable[[Kernel], Kernel]:
    """Declares that a kernel can be sharded; the kernel itself stays as it is."""

    def declared(kernel: Kernel) -> Kernel:
        kernel.sharding = Sharding(shard, driver, parts)  # type: ignore[attr-defined]
        return kernel

    return declared


def sharding(kernel: Callable[..., Any]) -> Sharding | None:
    """The two pieces of a kernel; None where it can run in one process only."""
    return getattr(kernel, "sharding", None)


def here(*shards: Any) -> Ask:
    """Asks shards that are in this process."""
    return lambda method, *arguments: [getattr(shard, method)(*arguments) for shard in shards]


def silent(words: str, share: float) -> None:
    """Tells nobody how far a driver is."""


def at_positions(ask: Ask, positions: np.ndarray) -> np.ndarray:
    """(m, d) vectors of the points at these positions, in their order, from shards that have `vectors`."""
    answers = ask("vectors", positions)
    dtype = np.result_type(*(found.dtype for _, found in answers))
    vectors = np.empty((len(positions), answers[0][1].shape[1]), dtype)
    for mine, found in answers:
        vectors[mine] = found
    return vectors
