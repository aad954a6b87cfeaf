"""A batch that is tokenized in pieces, each on a thread while the device computes the piece before it.

Tokenizing takes a CPU as long as a small model takes a GPU, and while one of them works the other could too. Fast
tokenizers leave Python's lock while they work, and so does a wait for the device. On a CPU the two would share the
cores, so there a batch is one piece.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import TypeVar

import numpy as np
import pyarrow as pa

from operators.base import Compute, Values

PIECES = 8
"""The most pieces of a batch: the first of them is tokenized while the device waits."""
FEWEST_ROWS = 64
"""The fewest rows of a piece, so that passes of samples of like length stay large."""

Piece = TypeVar("Piece")
Tokenized = TypeVar("Tokenized")


def overlapped(
    tokenize: Callable[[pa.Table], Tokenized], compute: Callable[[Tokenized], Values], device: str
) -> Compute:
    """A function from a batch to its values: those that `compute` gives of what `tokenize` makes of its rows.

    tokenize: it runs on a thread, so nothing else may use its tokenizer meanwhile. device: the type of the device on
    which the model is. An exception of either function is raised by the call.
    """

    def values(batch: pa.Table) -> Values:
        return _joined([compute(each) for each in ahead(tokenize, _pieces(batch, device))])

    return values


def _pieces(batch: pa.Table, device: str) -> list[pa.Table]:
    if device == "cpu":
        return [batch]
    rows = max(FEWEST_ROWS, -(-batch.num_rows // PIECES))
    return [batch.slice(start, rows) for start in range(0, max(1, batch.num_rows), rows)]


def ahead(tokenize: Callable[[Piece], Tokenized], pieces: Sequence[Piece]) -> Iterator[Tokenized]:
    """What `tokenize` makes of each piece, in order; the next one is made while this one is used."""
    if len(pieces) == 1:
        yield tokenize(pieces[0])
        return
    with ThreadPoolExecutor(1, thread_name_prefix="tokenize") as thread:
        coming = thread.submit(tokenize, pieces[0])
        for piece in pieces[1:]:
            ready = coming.result()
            coming = thread.submit(tokenize, piece)
            yield ready
        yield coming.result()


def _joined(parts: list[Values]) -> Values:
    """The values of all pieces; one array where each piece has one."""
    if len(parts) == 1:
        return parts[0]
    arrays = [part for part in parts if isinstance(part, np.ndarray)]
    return np.concatenate(arrays) if len(arrays) == len(parts) else list(chain.from_iterable(parts))
