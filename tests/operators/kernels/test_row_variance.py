"""LIFT's row variance against scikit-learn and published vectors."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from operators.kernels.percentile import percentile_cut
from operators.kernels.principal_axes import Axes, extremes, moments, principal_axes, sum_of_all, turned
from operators.kernels.row_variance import axes_variance, row_variance

PROJECTIONS = np.array([[3, -3], [1, 1], [2, 0], [0, 0], [5, -3]], np.float64)


def text_like(seed, n=400, width=24):
    """Rows whose columns are correlated, with eigenvalues that differ."""
    random = np.random.default_rng(seed)
    mixing = random.normal(size=(width, width)) * np.arange(1, width + 1) ** -0.7
    return (random.normal(size=(n, width)) @ mixing.T) * random.uniform(0.1, 5, width) + random.normal(size=width)


def naive(rows, count):
    """scikit-learn's projections on `count` axes, by its exact solver."""
    return PCA(count, svd_solver="full").fit_transform(StandardScaler().fit_transform(rows))


def reach(rows, explained=0.95):
    """The number of axes by the definition."""
    shares = PCA(svd_solver="full").fit(StandardScaler().fit_transform(rows)).explained_variance_ratio_
    return int(np.argmax(np.cumsum(shares) >= explained)) + 1


def as_given(width):
    """Axes that leave coordinates as they are."""
    return Axes(np.zeros(width), np.ones(width), np.eye(width), 1.0)


def test_row_variance_of_lift_vectors_and_their_cut_keep_the_last():
    found = axes_variance(PROJECTIONS, as_given(2))
    assert found.tolist() == [9, 0, 1, 0, 16]
    cut = percentile_cut(found, 80)
    assert cut.value == pytest.approx(10.4)
    assert np.flatnonzero(cut.kept).tolist() == [4]


def test_row_variance_is_not_a_norm_and_depends_on_how_axes_are_turned():
    rows = np.array([[1.0, 1.0], [1.0, -1.0]])
    assert axes_variance(rows, as_given(2)).tolist() == [0, 1]
    flipped = replace(as_given(2), directions=np.diag([-1.0, 1.0]))
    assert axes_variance(rows, flipped).tolist() == [1, 0]


@pytest.mark.parametrize("seed", range(4))
def test_projections_equal_sklearn(seed):
    rows = text_like(seed)
    axes = principal_axes(moments(rows))
    assert len(axes.directions) == reach(rows) > 3
    expected = naive(rows, len(axes.directions))
    assert axes.projections(rows) == pytest.approx(expected, abs=1e-11)


@pytest.mark.parametrize("explained", [0.5, 0.8, 0.95, 0.99])
@pytest.mark.parametrize(("components", "fewer"), [("reach", 0), ("one_fewer", 1)])
def test_row_variance_equals_sklearn(explained, components, fewer):
    for seed in range(3):
        rows = text_like(seed)
        count = max(reach(rows, explained) - fewer, 1)
        values, found = row_variance(rows, explained, components=components)
        assert found == count
        assert values == pytest.approx(naive(rows, count).var(axis=1), rel=1e-9, abs=1e-11)


def test_row_variance_signs_by_projections_equal_flip_by_rows():
    different = 0
    for seed in range(3):
        rows = text_like(seed)
        projections = naive(rows, reach(rows))
        largest = np.abs(projections).argmax(axis=0)
        projections *= np.sign(projections[largest, np.arange(projections.shape[1])])
        values, _ = row_variance(rows, signs="projections")
        assert values == pytest.approx(projections.var(axis=1), rel=1e-9, abs=1e-11)
        different += not np.allclose(values, row_variance(rows).values)
    assert different


def test_principal_axes_one_component_explains_enough_keeps_one():
    random = np.random.default_rng(0)
    first = random.normal(size=(200, 1))
    rows = first + 0.1 * random.normal(size=(200, 2))
    for components in ("reach", "one_fewer"):
        values, count = row_variance(rows, 0.9, components=components)
        assert count == 1
        assert (values == 0).all()


def test_principal_axes_one_fewer_explains_less_than_asked():
    rows = text_like(1, width=30)
    found = moments(rows)
    more, fewer = principal_axes(found), principal_axes(found, components="one_fewer")
    assert len(more.directions) == len(fewer.directions) + 1
    assert fewer.explained < 0.95 <= more.explained


def test_principal_axes_largest_loading_is_positive():
    directions = principal_axes(moments(text_like(2)), 1).directions
    assert (directions[np.arange(24), np.abs(directions).argmax(axis=1)] > 0).all()
    assert directions @ directions.T == pytest.approx(np.eye(24), abs=1e-12)


def test_principal_axes_of_two_columns_first_loading_decides_the_tie():
    for seed in range(5):
        rows = text_like(seed, width=2)
        directions = principal_axes(moments(rows), 1).directions
        assert np.abs(directions) == pytest.approx(np.full((2, 2), 0.5**0.5))
        assert (directions[:, 0] > 0).all()
        assert sorted(np.sign(directions[:, 1])) == [-1, 1]


def test_row_variance_fewer_rows_than_dimensions_equals_sklearn():
    rows = text_like(3, n=10, width=40)
    values, count = row_variance(rows)
    assert count == reach(rows) < 10
    assert values == pytest.approx(naive(rows, count).var(axis=1), rel=1e-9)
    assert row_variance(rows, 1).components <= 9


def test_row_variance_constant_columns_count_for_nothing():
    rows = text_like(4, n=1500)
    constants = np.broadcast_to([0.1, 0.0, 1e6 / 3], (1500, 3))
    values, count = row_variance(np.concatenate([rows, constants], axis=1))
    expected, expected_count = row_variance(rows)
    assert count == expected_count
    assert values == pytest.approx(expected, rel=1e-9, abs=1e-12)
    scale = principal_axes(moments(constants + rows[:, :1] * [0, 0, 1])).scale
    assert scale[:2].tolist() == [1, 1]


def test_row_variance_column_far_from_zero_keeps_its_variance():
    rows = text_like(5)
    far = rows.copy()
    far[:, 3] += 2.0**24
    assert row_variance(far).values == pytest.approx(row_variance(rows).values, rel=1e-5, abs=1e-7)


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 100),
    cuts=st.lists(st.integers(0, 1300), max_size=5),
    signs=st.sampled_from(["loadings", "projections"]),
)
def test_row_variance_any_shards_give_the_same(seed, cuts, signs):
    rows = text_like(seed, n=1300, width=8)
    shards = np.split(rows, sorted(cuts))
    axes = principal_axes(sum_of_all(moments(shard) for shard in shards))
    if signs == "projections":
        axes = turned(axes, [extremes(shard, axes) for shard in shards])
    found = np.concatenate([axes_variance(shard, axes) for shard in shards])
    values, count = row_variance(rows, signs=signs)
    assert len(axes.directions) == count
    assert found == pytest.approx(values, rel=1e-9, abs=1e-11)


@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_moments_add_up(data):
    rows = np.array(data.draw(st.lists(st.tuples(*[st.integers(-50, 50)] * 3), min_size=1, max_size=30)), np.float64)
    shards = np.split(rows, sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=4))))
    found = sum_of_all(moments(shard) for shard in shards)
    assert found.count == len(rows)
    assert found.mean == pytest.approx(rows.mean(axis=0), abs=1e-12)
    centred = rows - rows.mean(axis=0)
    assert found.scatter == pytest.approx(centred.T @ centred, abs=1e-8)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 1000), signs=st.sampled_from(["loadings", "projections"]))
def test_row_variance_scaled_columns_and_shuffled_rows_are_the_same(seed, signs):
    rows = text_like(seed, n=120, width=6)
    random = np.random.default_rng(seed)
    order = random.permutation(len(rows))
    moved = rows[order] * random.uniform(0.5, 3, 6) + random.normal(size=6)
    expected = row_variance(rows, signs=signs).values[order]
    assert row_variance(moved, signs=signs).values == pytest.approx(expected, rel=1e-8, abs=1e-10)
    assert (expected >= 0).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_row_variance_shorter_floats_are_computed_in_float64(dtype):
    rows = text_like(6).astype(dtype)
    values, _ = row_variance(rows)
    assert values.dtype == np.float64
    assert (values == row_variance(rows.astype(np.float64)).values).all()


def test_row_variance_rows_that_have_no_axes_are_refused():
    for rows in (np.empty((0, 3)), np.ones((1, 3)), np.full((10, 3), 0.1)):
        with pytest.raises(ValueError, match="no principal axes"):
            row_variance(rows)
    bad = text_like(0)
    bad[5, 2] = np.nan
    with pytest.raises(ValueError, match="row 5"):
        row_variance(bad)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"explained": 0}, "explained"),
        ({"explained": 95}, "explained"),
        ({"components": "all"}, "components"),
        ({"signs": "rows"}, "signs"),
    ],
)
def test_row_variance_settings_that_are_none_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        row_variance(text_like(0), **arguments)
