"""RDS+'s choice against its definition, on random scores and on ties."""

import weakref
from itertools import pairwise

import numpy as np
import pytest

from operators.kernels import round_robin
from operators.kernels.round_robin import Similarities, best_similarities, chosen_in_turn, in_turn
from operators.kernels.sharding import here, sharding


def test_each_subtask_has_its_highest_cosine_to_a_target():
    rng = np.random.default_rng(0)
    vectors, targets, subtasks = rng.normal(size=(9000, 5)), rng.normal(size=(7, 5)), np.array([1, 0, 2, 0, 1, 2, 0])
    found = best_similarities(vectors.astype(np.float32), targets=targets, subtasks=subtasks)
    cosines = (vectors @ targets.T) / np.linalg.norm(vectors, axis=1)[:, None] / np.linalg.norm(targets, axis=1)
    expected = np.stack([cosines[:, subtasks == each].max(axis=1) for each in range(3)], axis=1)
    assert found == pytest.approx(expected, abs=1e-5)


def test_a_shard_keeps_its_similarities_and_not_its_rows():
    rows = np.random.default_rng(0).normal(size=(2000, 500))
    gone = weakref.ref(rows)
    shard = Similarities(rows)
    shard.compare(np.eye(2, 500), np.arange(2))
    del rows
    assert gone() is None
    assert [len(found) for found, _ in shard.best(np.arange(1995), 9)] == [5, 5]


def test_a_row_of_zeros_has_no_similarity_and_other_dimensions_are_refused():
    found = best_similarities(np.zeros((1, 2)), targets=np.ones((1, 2)), subtasks=np.array([0]))
    assert found.tolist() == [[0.0]]
    with pytest.raises(ValueError, match="vectors have 3 dimensions, and targets 2"):
        best_similarities(np.zeros((1, 3)), targets=np.ones((1, 2)), subtasks=np.array([0]))


def expected(scores, count):
    left, order = list(range(len(scores))), []
    while left and len(order) < count:
        task = len(order) % scores.shape[1]
        order.append(max(left, key=lambda row: (scores[row, task], -row)))
        left.remove(order[-1])
    return order


@pytest.mark.parametrize("shards", [1, 2, 3, 4])
def test_subtasks_take_turns_and_each_takes_its_best_that_is_left_over_any_shards(monkeypatch, shards):
    monkeypatch.setattr(round_robin, "LEAST", 2)  # so that the shards are asked several times
    monkeypatch.setattr(round_robin, "MOST", 3)
    rng = np.random.default_rng(shards)
    for case in range(20):
        rows, tasks = int(rng.integers(1, 40)), int(rng.integers(1, 5))
        # Of few directions, so that many rows tie, also across shards; and of random ones.
        vectors = rng.integers(-1, 2, (rows, 3)).astype(np.float32) if case % 2 else rng.normal(size=(rows, 3))
        targets, subtasks = rng.normal(size=(tasks + 2, 3)), np.r_[np.arange(tasks), rng.integers(0, tasks, 2)]
        similar = best_similarities(vectors, targets=targets, subtasks=subtasks)
        cuts = sharding(chosen_in_turn).cuts(rows, shards)  # type: ignore[union-attr]
        for count in (0, 3, rows, 99):
            asked = here(*(Similarities(vectors[a:b], offset=a) for a, b in pairwise(cuts)))
            found = in_turn(asked, targets=targets, subtasks=subtasks, count=count)
            assert found.positions.tolist() == expected(similar, count)
            assert found.chosen_by.tolist() == [turn % tasks for turn in range(len(found.positions))]
            assert found.scores.nbytes + found.subtasks.nbytes == 8 * rows  # whatever the number of subtasks
            assert np.array_equal(found.scores, similar.max(axis=1))
            assert np.array_equal(found.subtasks, similar.argmax(axis=1))
    with pytest.raises(ValueError, match="count is at least 0"):
        chosen_in_turn(np.eye(2), targets=np.eye(2), subtasks=np.arange(2), count=-1)
