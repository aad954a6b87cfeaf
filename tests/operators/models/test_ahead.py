"""Tokenizing beside the device: who waits for whom, and what the values are."""

import threading

import numpy as np
import pyarrow as pa
import pytest

from operators.models.ahead import FEWEST_ROWS, PIECES, overlapped

WAIT_SECONDS = 20


def rows(count: int) -> pa.Table:
    return pa.table({"id": range(count)})


def ids(piece: pa.Table) -> np.ndarray:
    return piece["id"].to_numpy()


def test_the_next_piece_is_tokenized_while_the_device_computes_this_one():
    begun = {start: threading.Event() for start in range(0, 4 * FEWEST_ROWS, FEWEST_ROWS)}

    def tokenize(piece):
        begun[int(ids(piece)[0])].set()
        return ids(piece)

    def compute(piece):
        following = begun.get(int(piece[0]) + FEWEST_ROWS)
        assert following is None or following.wait(WAIT_SECONDS), "nobody tokenizes while the device computes"
        return piece

    assert list(overlapped(tokenize, compute, "cuda")(rows(4 * FEWEST_ROWS))) == list(range(4 * FEWEST_ROWS))


@pytest.mark.parametrize("count", [0, 1, FEWEST_ROWS, FEWEST_ROWS + 1, 5000])
def test_values_are_those_of_the_whole_batch_in_order(count):
    pieces = []
    found = overlapped(ids, lambda piece: pieces.append(len(piece)) or piece, "cuda")(rows(count))
    assert list(found) == list(range(count))
    assert len(pieces) == max(1, min(PIECES, -(-count // FEWEST_ROWS)))
    mixed = overlapped(ids, lambda piece: piece if piece[0] else list(piece), "cuda")
    assert count == 0 or list(mixed(rows(count))) == list(range(count))


def test_on_a_cpu_nothing_runs_beside_the_passes():
    assert overlapped(lambda batch: threading.current_thread(), lambda thread: [thread], "cpu")(rows(500)) == [
        threading.main_thread()
    ]


@pytest.mark.parametrize("where", ["tokenize", "compute"])
def test_an_error_of_either_side_is_raised_and_leaves_no_thread(where):
    def fails(piece):
        if 70 in np.asarray(piece):
            raise ValueError("row 70")
        return piece

    tokenize = ids if where == "compute" else lambda batch: fails(ids(batch))
    compute = fails if where == "compute" else lambda piece: piece
    with pytest.raises(ValueError, match="row 70"):
        overlapped(tokenize, compute, "cuda")(rows(200))
    assert not [each for each in threading.enumerate() if each.name.startswith("tokenize") and not each.daemon]
