"""Samples of like length together in a forward pass, so that little of a pass is padding."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from operators.base import RowError

Groups = Callable[[Sequence[int], int], Iterable[list[int]]]
"""A function from the samples' lengths and a token budget to the positions of each pass, every sample once."""


def batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """The positions of the samples of each pass, at most `budget` tokens with their padding.

    lengths: the number of tokens of each sample. The longest samples come first, so that a lack of memory shows at
    once; samples of equal length keep their order. A sample longer than the budget is a pass by itself.

    >>> list(batches([3, 5, 5, 1], budget=10))
    [[1, 2], [0, 3]]
    """
    order = sorted(range(len(lengths)), key=lambda at: -lengths[at])
    while order:
        size = max(1, budget // lengths[order[0]])
        yield order[:size]
        order = order[size:]


def shortest_first(lengths: Sequence[int]) -> list[int]:
    """The positions of the samples in ascending order of length; samples of equal length keep their order."""
    return sorted(range(len(lengths)), key=lengths.__getitem__)


@dataclass
class Budget:
    """The most tokens of a pass, padding included; halved for all later passes where the device runs out of memory."""

    tokens: int

    def run(self, lengths: Sequence[int], compute: Callable[[list[int]], None], groups: Groups = batches) -> None:
        """Calls `compute` with the positions of each pass.

        A pass that runs out of memory is computed again in smaller ones, so `compute` has to overwrite what it left of
        a failed pass. OutOfMemoryError where one sample alone does not fit; the budget then stays as it is.
        """
        left = list(range(len(lengths)))
        while left:
            done: set[int] = set()
            for group in groups([lengths[at] for at in left], self.tokens):
                positions = [left[at] for at in group]
                if not _fits(compute, positions):
                    longest = max(lengths[at] for at in positions)
                    self.tokens = max(longest, min(self.tokens, longest * len(positions)) // 2)
                    break
                done.update(positions)
            left = [at for at in left if at not in done]

    def values(self, lengths: Sequence[int], compute: Callable[[list[int]], Iterable[Any]]) -> list[Any]:
        """The value of each sample, in order, of those that `compute` returns for the positions of each pass.

        OutOfMemoryError as for `run`.
        """
        found: dict[int, Any] = {}
        self.run(lengths, lambda group: found.update(zip(group, compute(group), strict=True)))
        return [found[at] for at in range(len(lengths))]

    def attempted(self, lengths: Sequence[int], compute: Callable[[list[int]], Iterable[Any]]) -> list[Any]:
        """As `values`, with the error out_of_memory for a sample that alone does not fit."""

        def attempt(group: list[int]) -> Iterable[Any]:
            try:
                return compute(group)
            except torch.OutOfMemoryError:
                if len(group) > 1:
                    raise  # the budget is halved
                return [RowError("out_of_memory", f"{lengths[group[0]]:,} tokens by themselves")]

        return self.values(lengths, attempt)


def _fits(compute: Callable[[list[int]], None], positions: list[int]) -> bool:
    """Whether the pass could be computed; OutOfMemoryError for a pass of one sample that could not."""
    try:
        compute(positions)
    except torch.OutOfMemoryError:
        if len(positions) == 1:
            raise
    else:
        return True
    torch.cuda.empty_cache()  # here the error, whose frames hold the tensors of the pass, is gone
    return False
