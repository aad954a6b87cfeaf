"""Kernels over shards: a class that holds some of the rows, and a driver that asks all shards and joins their answers.

    @sharded(Shard, cover)
    def k_center(points, k): return cover(here(Shard(points)), k)

The shards hold consecutive rows, in order. A driver function is called as driver(ask, tell=..., **parameters). It gives
the same result for any number of shards; one process is the case of one shard.
"""

import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy as np

Ask = Callable[..., list[Any]]
"""ask(method, *arguments) calls a method of every shard and returns their answers, in the order of the shards."""
Tell = Callable[[str, float], None]
"""tell(words, share) says how far a driver is: in words, and as a share of the work, from 0 to 1."""
Kernel = TypeVar("Kernel", bound=Callable[..., Any])


def silent(words: str, share: float) -> None:
    """Tells nobody how far a driver is."""


class Sharding(NamedTuple):
    """The two pieces of a kernel."""

    shard: Callable[..., Any]
    """shard(*columns, offset=position of the first row) holds the rows; with device=... where it has that parameter."""
    driver: Callable[..., Any]
    parts: Callable[[int], list[int]] | None = None
    """parts(rows): where the parts of so many rows begin, and the end; a part lies in one shard. None: cut anywhere."""

    @property
    def by_row(self) -> bool:
        """Whether each row is computed by itself, so that not all rows of a shard have to be in memory."""
        return self.driver is joined

    @property
    def in_pieces(self) -> bool:
        """Whether not all rows of a shard have to be in memory: also where shards drop them at the first question."""
        return self.by_row or getattr(self.shard, "condensed", False)

    def cuts(self, rows: int, shards: int) -> list[int]:
        """Where so many shards begin, and the end; shards are fewer where there are fewer parts."""
        at = sorted(set(self.parts(rows))) if self.parts else range(rows + 1)
        shards = max(1, min(shards, len(at) - 1))
        return [at[(len(at) - 1) * shard // shards] for shard in range(shards + 1)]


def sharded(
    shard: Callable[..., Any], driver: Callable[..., Any], parts: Callable[[int], list[int]] | None = None
) -> Callable[[Kernel], Kernel]:
    """Declares that a kernel can be sharded; the kernel itself stays as it is."""

    def declared(kernel: Kernel) -> Kernel:
        kernel.sharding = Sharding(shard, driver, parts)  # type: ignore[attr-defined]
        return kernel

    return declared


def by_row(kernel: Kernel) -> Kernel:
    """Declares that a kernel computes each row of its arrays by itself; it may have an `offset`, as shards do."""
    return sharded(partial(Independent, kernel), joined)(kernel)


class Independent:
    """A shard of a kernel that computes each row by itself."""

    def __init__(self, kernel: Callable[..., Any], *columns: np.ndarray, offset: int = 0):
        self.kernel, self.columns = kernel, columns
        self.first = {"offset": offset} if "offset" in inspect.signature(kernel).parameters else {}

    def rows(self, params: dict[str, Any]) -> Any:
        """What the kernel returns of the rows of this shard."""
        return self.kernel(*self.columns, **params, **self.first)


def joined(ask: Ask, *, tell: Tell = silent, **params: Any) -> Any:
    """The arrays that a kernel returns of all rows; alone, in a tuple or in a dataclass."""
    return in_order(ask("rows", params))


def in_order(answers: list[Any]) -> Any:
    """The arrays of several runs of rows, one after another; alone, in tuples or in dataclasses."""
    one = answers[0]
    if isinstance(one, np.ndarray):
        return np.concatenate(answers)
    if is_dataclass(one) and not isinstance(one, type):
        return type(one)(**{each.name: in_order([getattr(a, each.name) for a in answers]) for each in fields(one)})
    return type(one)(*map(in_order, map(list, zip(*answers, strict=True))))


def sharding(kernel: Callable[..., Any]) -> Sharding | None:
    """The two pieces of a kernel; None where it can run in one process only."""
    return getattr(kernel, "sharding", None)


def here(*shards: Any) -> Ask:
    """Asks shards that are in this process."""
    return lambda method, *arguments: [getattr(shard, method)(*arguments) for shard in shards]


def at_positions(ask: Ask, positions: np.ndarray) -> np.ndarray:
    """(m, d) vectors of the points at these positions, in their order, from shards that have `vectors`."""
    answers = ask("vectors", positions)
    dtype = np.result_type(*(found.dtype for _, found in answers))
    vectors = np.empty((len(positions), answers[0][1].shape[1]), dtype)
    for mine, found in answers:
        vectors[mine] = found
    return vectors
