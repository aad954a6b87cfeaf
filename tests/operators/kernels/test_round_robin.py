"""RDS+'s choice against its definition, on random scores and on ties."""

import numpy as np
import pytest

from operators.kernels.round_robin import best_similarities, round_robin


def test_each_subtask_has_its_highest_cosine_to_a_target():
    rng = np.random.default_rng(0)
    vectors, targets, subtasks = rng.normal(size=(9000, 5)), rng.normal(size=(7, 5)), np.array([1, 0, 2, 0, 1, 2, 0])
    found = best_similarities(vectors.astype(np.float32), targets=targets, subtasks=subtasks)
    cosines = (vectors @ targets.T) / np.linalg.norm(vectors, axis=1)[:, None] / np.linalg.norm(targets, axis=1)
    expected = np.stack([cosines[:, subtasks == each].max(axis=1) for each in range(3)], axis=1)
    assert found == pytest.approx(expected, abs=1e-5)


def test_a_row_of_zeros_has_no_similarity_and_other_dimensions_are_refused():
    found = best_similarities(np.zeros((1, 2)), targets=np.ones((1, 2)), subtasks=np.array([0]))
    assert found.tolist() == [[0.0]]
    with pytest.raises(ValueError, match="vectors have 3 dimensions, and targets 2"):
        best_similarities(np.zeros((1, 3)), targets=np.ones((1, 2)), subtasks=np.array([0]))


def test_subtasks_take_turns_and_each_takes_its_best_that_is_left():
    rng = np.random.default_rng(1)
    for _ in range(20):
        scores = rng.integers(0, 4, (rng.integers(1, 30), rng.integers(1, 4))).astype(float)
        left, expected = list(range(len(scores))), []
        while left:
            task = len(expected) % scores.shape[1]
            expected.append(max(left, key=lambda row: (scores[row, task], -row)))
            left.remove(expected[-1])
        for count in (0, 3, len(scores), 99):
            found = round_robin(scores, count=count)
            assert found.positions.tolist() == expected[:count]
            assert found.subtasks.tolist() == [turn % scores.shape[1] for turn in range(len(found.positions))]
