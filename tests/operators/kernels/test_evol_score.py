"""The evol score, on the vectors of the released code and against the sum written out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.kernels.evol_score import evol_score

COMPLEXITY = [[2, 3], [4], [5], [1, 1, 1], [3], [4.5]]
QUALITY = [[4, 3], [4], [3], [2, 2, 2], [5], [2]]

turns = st.lists(st.tuples(st.floats(1, 6), st.floats(1, 6)), min_size=1, max_size=9)


def test_the_score_sums_the_products_of_a_sample_s_turns():
    assert evol_score(COMPLEXITY, QUALITY).tolist() == [17, 16, 15, 6, 15, 9]


@pytest.mark.parametrize(
    ("aggregate", "expected"), [("sum", [27, 23]), ("mean", [9, 11.5]), ("max", [15, 15]), ("last", [4, 15])]
)
def test_a_conversation_with_and_without_its_last_unanswered_turn(aggregate, expected):
    scores = evol_score([[2, 3, 4], [2, 3]], [[4, 5, 1], [4, 5]], aggregate)
    assert scores.tolist() == expected


@pytest.mark.parametrize("other", [[[1.0], [1.0]], [[1.0], [1.0, 2.0, 3.0]], [[1.0], []]])
def test_different_numbers_of_turns_are_never_broadcast(other):
    with pytest.raises(ValueError, match="row 1 has 2 turns"):
        evol_score([[1.0], [1.0, 2.0]], other)


def test_a_row_without_turns_and_columns_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="row 1 has 0 turns"):
        evol_score([[1.0], []], [[1.0], []])
    with pytest.raises(ValueError, match="complexity has 2 rows and quality 1"):
        evol_score([[1.0], [1.0]], [[1.0]])
    assert evol_score([], []).shape == (0,)


def test_a_turn_without_a_number_leaves_the_row_without():
    assert np.isnan(evol_score([[1.0, float("nan")]], [[1.0, 2.0]])).tolist() == [True]


@given(st.lists(turns, max_size=12), st.booleans())
def test_the_score_is_what_the_definition_says_however_the_rows_are_held(rows, as_arrays):
    complexity = [[c for c, _ in row] for row in rows]
    quality = [[q for _, q in row] for row in rows]
    naive = [sum(c * q for c, q in row) for row in rows]
    if as_arrays:
        complexity, quality = [np.array(row) for row in complexity], [np.array(row) for row in quality]
    assert np.allclose(evol_score(complexity, quality), naive)
    assert np.allclose(
        evol_score(complexity, quality, "mean"), [n / len(row) for n, row in zip(naive, rows, strict=True)]
    )
    assert evol_score(complexity, quality, "max").tolist() == [max(c * q for c, q in row) for row in rows]
    assert evol_score(complexity, quality, "last").tolist() == [row[-1][0] * row[-1][1] for row in rows]
