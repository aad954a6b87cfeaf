"""What workers do in a reduce: run a kernel, hold a shard of its rows, or ask those that do."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import is_dataclass
from functools import partial
from itertools import chain, pairwise
from typing import Any, NamedTuple

import numpy as np
import ray
from ray.exceptions import NodeDiedError

from jobs.engine.execute.gpus import hide_other_gpus, task
from jobs.engine.execute.rows import Rows, count, part, read
from jobs.engine.execute.spread import Spread, live_nodes
from jobs.engine.terminal.errors import WinnowError
from operators.kernels.sharding import Ask, Sharding, here, in_order, sharding

EVERY = 30.0
"""Seconds between two lines about the progress of a reduce."""
LOOK = 5.0
"""Seconds between two looks at the nodes, while the shards wait for room on them."""
INLINE = 100_000
"""Bytes above which an argument is put into the object store once, instead of sent to every shard."""


class Found(NamedTuple):
    """What a reduce has found, how often its shards were asked, and the bytes that were sent for it."""

    result: Any
    rounds: int = 0
    moved: int = 0


class Request(NamedTuple):
    """A kernel, its array arguments and its other arguments, and the processes that it runs in."""

    kernel: Callable[..., Any]
    columns: list[Rows]
    rows: int
    params: dict[str, Any]
    spread: Spread
    patience: float = 900.0
    """Seconds to wait for room for the shards."""


class Progress:
    """How far a kernel is, as it told last."""

    def __init__(self) -> None:
        self.words, self.share, self.began = "", 0.0, time.monotonic()

    def __call__(self, words: str, share: float) -> None:
        self.words, self.share = words, share

    def line(self) -> str:
        """The words, and the seconds left at the pace so far; empty where nothing was told yet."""
        if not self.share:
            return self.words
        left = (time.monotonic() - self.began) * (1 - self.share) / self.share
        return f"{self.words}, about {left:,.0f} s left"


def reduce_here(request: Request) -> Iterator[str | Found]:
    """Yields an empty line when it starts, then one about the progress every EVERY seconds, and last what was found."""
    hide_other_gpus()
    yield ""
    progress = Progress()
    work = _over_shards if request.spread.shards > 1 else _alone
    with ThreadPoolExecutor(1) as thread:
        found = thread.submit(work, request, progress)
        while not wait([found], EVERY).done:
            yield progress.line()
        yield found.result()


REDUCE = task(reduce_here, max_retries=0)  # a reduce starts again as a whole


def _alone(request: Request, progress: Progress) -> Found:
    """Runs the kernel in this process."""
    _set_threads(request.spread.threads)
    declared = sharding(request.kernel)
    if declared is None:
        device = {"device": "cuda"} if request.spread.gpus else {}
        return Found(request.kernel(*map(read, request.columns), **device, **request.params))
    asked = Asked(_held(declared, request.columns, 0, request.spread))
    return Found(declared.driver(asked, tell=progress, **request.params), asked.rounds)


def _over_shards(request: Request, progress: Progress) -> Found:
    """Asks one worker per shard, each of which reads its own rows."""
    spread, declared = request.spread, sharding(request.kernel)
    assert declared is not None
    _set_threads(spread.threads)
    options = {"num_cpus": spread.cpus, "num_gpus": spread.gpus, "memory": spread.memory}
    workers = [SHARD.options(scheduling_strategy="SPREAD", **options).remote() for _ in range(spread.shards)]
    try:
        progress(f"waiting for room for {spread.shards} workers with {_sized(spread.memory)} of memory each", 0.0)
        _wait_for_room(workers, request)
        progress(f"reading {request.rows:,} rows into {spread.shards} workers", 0.0)
        ray.get(
            [
                worker.hold.remote(request.kernel, [part(each, *span) for each in request.columns], span[0], spread)
                for worker, span in zip(workers, pairwise(declared.cuts(request.rows, spread.shards)), strict=True)
            ]
        )
        asked = Asked(partial(_answers, workers))
        progress.began = time.monotonic()
        found = declared.driver(asked, tell=progress, **request.params)
        return Found(found, asked.rounds, asked.moved + asked.told * spread.shards)
    finally:
        for worker in workers:
            ray.kill(worker)


def _wait_for_room(workers: list[Any], request: Request) -> None:
    """Returns when all workers have started.

    WinnowError where there is no room for them for too long; NodeDiedError where a node is gone that was counted on.
    """
    spread = request.spread
    waiting, until = [each.ready.remote() for each in workers], time.monotonic() + request.patience
    while waiting:
        ready, waiting = ray.wait(waiting, num_returns=len(waiting), timeout=LOOK)
        ray.get(ready)
        if waiting and len(live_nodes()) < spread.nodes:
            raise NodeDiedError("a node died before its workers had started")
        if waiting and time.monotonic() > until:
            raise WinnowError(
                f"the cluster had no room for {spread.shards} workers with {_sized(spread.memory)} of memory each for "
                f"{request.patience:g} s: add nodes, or set reduce_bytes in the profile to more"
            )


def _held(declared: Sharding, columns: Sequence[Rows], offset: int, spread: Spread) -> Ask:
    """Asks the shard with these rows, in memory or read as they are asked for; offset: the position of the first."""
    if spread.at_once:
        return (
            here(InTurn(declared, columns, offset, spread.at_once))
            if declared.by_row
            else Pieces(declared, columns, offset, spread.at_once)
        )
    device = {"device": "cuda"} if spread.gpus else {}
    return here(declared.shard(*map(read, columns), offset=offset, **device))


class InTurn(NamedTuple):
    """A shard of a kernel that computes each row by itself: it reads some rows after others."""

    declared: Sharding
    columns: Sequence[Rows]
    offset: int
    at_once: int

    def rows(self, params: dict[str, Any]) -> Any:
        """What the kernel returns of the rows of this shard."""
        pieces = _pieces(self.declared, self.columns, self.offset, self.at_once)
        return in_order([piece.rows(params) for piece in pieces])


class Pieces:
    """Asks the pieces of a shard, each of which drops its rows when it is asked first; then the next is read."""

    def __init__(self, declared: Sharding, columns: Sequence[Rows], offset: int, at_once: int):
        self.unread = _pieces(declared, columns, offset, at_once)
        self.read: list[Any] = []

    def __call__(self, method: str, *arguments: Any) -> list[Any]:
        """The answers of the pieces, in their order."""
        answers = here(*self.read)(method, *arguments)
        for piece in self.unread:
            answers.append(getattr(piece, method)(*arguments))
            self.read.append(piece)
        return answers


def _pieces(declared: Sharding, columns: Sequence[Rows], offset: int, at_once: int) -> Iterator[Any]:
    """Gives shards of so many rows, one after another as they are read."""
    for start in range(0, count(columns[0]), at_once):
        rows = (read(part(each, start, start + at_once)) for each in columns)
        yield declared.shard(*rows, offset=offset + start)


class Shard:
    """The actor that holds a shard."""

    def ready(self) -> None:
        """Returns when the actor has started."""

    def hold(self, kernel: Callable[..., Any], columns: list[Rows], offset: int, spread: Spread) -> None:
        """Reads the rows of the shard; offset: the position of the first."""
        hide_other_gpus()
        _set_threads(spread.threads)
        declared = sharding(kernel)
        assert declared is not None
        self.ask = _held(declared, columns, offset, spread)

    def answer(self, method: str, *arguments: Any) -> list[Any]:
        """What a method of the shard returns, or of each of its pieces."""
        return self.ask(method, *arguments)


SHARD: Any = ray.remote(Shard)


def _answers(workers: list[Any], method: str, *arguments: Any) -> list[Any]:
    """The answers of the shards, in their order; a large argument is put into the object store once."""
    given = [ray.put(each) if _bytes(each) > INLINE else each for each in arguments]
    return list(chain.from_iterable(ray.get([worker.answer.remote(method, *given) for worker in workers])))


class Asked:
    """Asks all shards, and counts how often, the bytes that each was told, and those that all answered."""

    def __init__(self, ask: Ask):
        self.ask, self.rounds, self.told, self.moved = ask, 0, 0, 0

    def __call__(self, method: str, *arguments: Any) -> list[Any]:
        """The answers of the shards, in their order."""
        answers = self.ask(method, *arguments)
        self.rounds += 1
        self.told += _bytes(arguments)
        self.moved += _bytes(answers)
        return answers


def _bytes(value: Any) -> int:
    """The bytes of the arrays in a value."""
    if isinstance(value, np.ndarray):
        return value.nbytes
    if is_dataclass(value) and not isinstance(value, type):
        return _bytes(list(vars(value).values()))
    return sum(map(_bytes, value)) if isinstance(value, list | tuple) else 0


def _sized(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e8 else f"{count / 1e6:,.1f} MB"


def _set_threads(threads: int) -> None:
    import torch  # not needed on the driver

    torch.set_num_threads(max(1, min(threads, os.cpu_count() or 1)))
