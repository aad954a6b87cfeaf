"""LESS's scores against values computed by hand, and against all cosines computed one by one."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.kernels.influence import (
    checkpoint_weights,
    cosines,
    dots,
    squares,
    subtask_cosines,
    subtask_vectors,
    unit_rows,
    weighted_influence,
)
from operators.kernels.ranking import ranked


def at_angles(*degrees, length=1.0):
    angles = np.radians(degrees)
    return (length * np.stack([np.cos(angles), np.sin(angles)], 1)).astype(np.float32)


HAND_FEATURES = [at_angles(0), at_angles(30)]
HAND_TARGETS = [at_angles(0, 60, 90, 120), at_angles(30, 90, 120, 150)]
HAND_SUBTASKS = np.array([0, 0, 1, 1])


def influence(features, targets, subtasks, learning_rates, aggregate="mean_of_cosines"):
    """The scores from the stored features of each checkpoint, computed as the recipe does."""
    tables = [
        subtask_cosines(column, targets=wanted, subtasks=subtasks, aggregate=aggregate)
        for column, wanted in zip(features, targets, strict=True)
    ]
    return weighted_influence(tables, learning_rates)


def plain(features, targets, subtasks, rates):
    """The definition, cosine by cosine in float64: mean over a subtask, weighted sum, then the maximum."""
    total = 0
    for column, wanted, rate in zip(features, targets, np.array(rates) / np.sum(rates), strict=True):
        column, wanted = column.astype(np.float64), wanted.astype(np.float64)
        lengths = np.linalg.norm(column, axis=1)[:, None] * np.linalg.norm(wanted, axis=1)
        total = total + rate * (column @ wanted.T) / lengths
    return np.stack([total[:, subtasks == name].mean(axis=1) for name in np.unique(subtasks)], 1)


def columns(seed, n=40, width=16, checkpoints=3, targets=9):
    random = np.random.default_rng(seed)
    features = [random.normal(size=(n, width)).astype(np.float32) for _ in range(checkpoints)]
    wanted = [random.normal(size=(targets, width)).astype(np.float32) for _ in range(checkpoints)]
    return features, wanted, np.arange(targets) % 4, random.uniform(1e-6, 1e-5, checkpoints).tolist()


def by_subtask(features, targets, aggregate="mean_of_cosines"):
    vectors = subtask_vectors(torch.from_numpy(targets), HAND_SUBTASKS, aggregate)
    features = torch.from_numpy(features)
    return cosines(dots(features, vectors), squares(features))


def test_influence_hand_values():
    found = influence(HAND_FEATURES, HAND_TARGETS, HAND_SUBTASKS, [3e-5, 1e-5])
    assert found.scores.tolist() == pytest.approx([0.75], abs=1e-6)
    assert found.subtasks.tolist() == [0]
    both = sum(w * by_subtask(f, t) for w, f, t in zip((0.75, 0.25), HAND_FEATURES, HAND_TARGETS, strict=True))
    assert both[0].tolist() == pytest.approx([0.75, -0.25], abs=1e-6)


def test_influence_cosine_of_mean_hand_values():
    tables = [by_subtask(f, t, "cosine_of_mean") for f, t in zip(HAND_FEATURES, HAND_TARGETS, strict=True)]
    assert (0.75 * tables[0] + 0.25 * tables[1])[0].tolist() == pytest.approx([0.8660, -0.2588], abs=5e-5)
    found = influence(HAND_FEATURES, HAND_TARGETS, HAND_SUBTASKS, [3, 1], aggregate="cosine_of_mean")
    assert found.scores.tolist() == pytest.approx([0.8660], abs=5e-5)


def test_influence_subtask_of_one_target_is_the_same_either_way():
    features, targets, _, rates = columns(1)
    for_each = [influence(features, targets, np.arange(9), rates, aggregate=how) for how in
                ("mean_of_cosines", "cosine_of_mean")]  # fmt: skip
    assert for_each[0].scores.tolist() == pytest.approx(for_each[1].scores.tolist(), abs=1e-6)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6))
def test_influence_equals_cosine_by_cosine(seed):
    given = columns(seed)
    expected = plain(*given)
    found = influence(*given)
    assert found.scores == pytest.approx(expected.max(axis=1), abs=1e-5)
    assert found.subtasks.tolist() == expected.argmax(axis=1).tolist()


def test_influence_maximum_is_taken_after_the_sum():
    features = [at_angles(0), at_angles(0)]
    targets = [at_angles(0, 90), at_angles(90, 0)]
    # Each subtask has cosine 1 at one checkpoint and 0 at the other: a maximum taken first would give 1.
    assert influence(features, targets, np.array([0, 1]), [1, 1]).scores.tolist() == pytest.approx([0.5], abs=1e-6)


def test_influence_lengths_do_not_count_however_small():
    features, targets, subtasks, rates = columns(2)
    expected = influence(features, targets, subtasks, rates).scores
    random = np.random.default_rng(0)
    moved = [column * 10 ** random.uniform(-12, 6, (len(column), 1)).astype(np.float32) for column in features]
    shrunk = [column * np.float32(1e-25) for column in targets]
    assert influence(moved, shrunk, subtasks, rates).scores == pytest.approx(expected, abs=1e-5)


def test_influence_of_module_by_module_is_that_of_the_whole():
    features, targets, subtasks, rates = columns(3, width=50)
    tables = []
    for column, wanted in zip(features, targets, strict=True):
        vectors = subtask_vectors(torch.from_numpy(wanted), subtasks)
        modules = [torch.from_numpy(column[:, part]) for part in (slice(0, 1), slice(1, 30), slice(30, 50))]
        pieces = vectors.split([1, 29, 20], dim=1)
        products = torch.stack([dots(own, piece) for own, piece in zip(modules, pieces, strict=True)]).sum(0)
        lengths = torch.stack([squares(own) for own in modules]).sum(0)
        tables.append(cosines(products, lengths))
    streamed, whole = weighted_influence(tables, rates), influence(features, targets, subtasks, rates)
    assert streamed.scores == pytest.approx(whole.scores, abs=1e-6)
    assert streamed.subtasks.tolist() == whole.subtasks.tolist()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_influence_features_that_are_not_finite_have_no_score_and_are_never_first(bad):
    features, targets, subtasks, rates = columns(4)
    expected = influence(features, targets, subtasks, rates).scores
    features[1][7, 3] = features[2][20, 0] = bad
    found = influence(features, targets, subtasks, rates)
    assert np.flatnonzero(np.isnan(found.scores)).tolist() == [7, 20]
    assert found.subtasks[[7, 20]].tolist() == [-1, -1]
    assert set(ranked(found.scores)[-2:].tolist()) == {7, 20}
    rest = np.setdiff1d(np.arange(40), [7, 20])
    assert found.scores[rest].tolist() == expected[rest].tolist()


def test_influence_feature_of_zero_scores_zero_and_ties_go_to_the_lowest_subtask():
    features, targets, subtasks, rates = columns(5)
    for column in features:
        column[3] = 0
    found = influence(features, targets, subtasks, rates)
    assert (found.scores[3], found.subtasks[3]) == (0, 0)
    assert np.isfinite(found.scores).all()


def test_influence_stored_as_float16_in_blocks_and_read_only(monkeypatch):
    features, targets, subtasks, rates = columns(6)
    halves = [column.astype(np.float16) for column in features]
    for column in halves:
        column.flags.writeable = False
    expected = influence([column.astype(np.float32) for column in halves], targets, subtasks, rates).scores
    monkeypatch.setattr("operators.kernels.influence.ROWS", 7)
    assert influence(halves, targets, subtasks, rates).scores == pytest.approx(expected, abs=1e-6)


def test_influence_of_no_sample_is_empty():
    _, targets, subtasks, rates = columns(7)
    assert len(influence([np.empty((0, 16), np.float32)] * 3, targets, subtasks, rates).scores) == 0


def test_unit_rows_zero_stays_zero_and_small_ones_do_not_vanish():
    found = unit_rows(torch.tensor([[3.0, 4.0], [0.0, 0.0], [3e-30, -4e-30]]))
    assert found.flatten().tolist() == pytest.approx([0.6, 0.8, 0, 0, 0.6, -0.8], rel=1e-6)


def test_checkpoint_weights_are_shares_of_the_learning_rates():
    weights = checkpoint_weights([1.6877e-05, 1.2859e-05, 7.7030e-06, 2.5616e-06])
    assert weights.tolist() == pytest.approx([0.422, 0.321, 0.193, 0.064], abs=1e-3)
    assert weights.sum() == pytest.approx(1)


@pytest.mark.parametrize("rates", [[], [0, 0], [1, -1], [1, np.nan], [[1.0]]])
def test_checkpoint_weights_what_is_no_weight_is_refused(rates):
    with pytest.raises(ValueError, match="learning rates"):
        checkpoint_weights(rates)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rates": [1.0]}, "2 checkpoints and 1 learning rates"),
        ({"features": [at_angles(0), at_angles(0, 30)]}, "one"),
        ({"features": [np.ones((1, 3))] * 2}, "features"),
        ({"subtasks": np.array([0, 0, 2, 2])}, "without a gap"),
        ({"subtasks": np.array([1, 1, 1, 1])}, "without a gap"),
        ({"subtasks": np.array([0, 0])}, "a subtask each"),
        ({"targets": [HAND_TARGETS[0], at_angles(0, 30, np.nan, 0)]}, "target 2 holds"),
        ({"aggregate": "median"}, "aggregate"),
    ],
)
def test_influence_what_does_not_fit_is_refused(change, message):
    given = {
        "features": HAND_FEATURES,
        "targets": HAND_TARGETS,
        "subtasks": HAND_SUBTASKS,
        "learning_rates": [3.0, 1.0],
        **change,
    }
    with pytest.raises(ValueError, match=message):
        influence(**given)
