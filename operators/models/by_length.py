"""Samples of like length together in a forward pass, so that little of a pass is padding."""

from collections.abc import Iterator, Sequence
from typing import Any

PASS_TOKENS = 16384
"""The most tokens of a forward pass on a GPU, padding included; a longer sample is a pass by itself."""


def pass_tokens(model: Any) -> int:
    """The token budget of a forward pass of the model, for `batches`.

    On a CPU it is 1: each sample is a pass by itself, so that its numbers are bitwise the same whatever samples are
    computed with it.
    """
    return 1 if next(model.parameters()).device.type == "cpu" else PASS_TOKENS


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
