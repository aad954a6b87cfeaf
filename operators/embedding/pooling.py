"""The vector of a text from the hidden states of its tokens."""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor

Pooling = Literal["mean", "cls", "last"]
Tokens = Sequence[int]

FEWEST_ROWS = 64
"""The minimum number of rows of a matrix product on a CPU; with fewer a row may be rounded in another way."""
CPU_TOKENS = 1024
"""Tokens computed at once on a CPU: the activations (1536 wide, 6 MB in float32) stay in the L3 cache."""


def pooled_state(state: Tensor, pooling: Pooling) -> Tensor:
    """The vector of one text, (width,) float32, from its own states (tokens, width) only."""
    if pooling == "mean":
        return state.float().mean(0)
    return state[0 if pooling == "cls" else -1].float()
