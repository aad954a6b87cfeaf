"""repr_filter against a walk one row at a time, and against published vectors."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from operators.kernels import blockers
from operators.kernels import repr_filter as kernel
from operators.kernels.distance import unit
from operators.kernels.ranking import ranked
from operators.kernels.repr_filter import Filtered, repr_filter

BLOCKS = (1, 7, 1024)


def naive(rows, size, threshold):
    """The definition: the kept positions, and for every row looked at, the first kept row that is too similar."""
    units = unit(rows).astype(np.float64)
    kept, blocker, similarity = [], [-1] * len(rows), [None] * len(rows)
    for row in range(len(rows)):
        if size is not None and len(kept) >= size:
            break
        cosines = np.minimum((units[row] * units[kept]).sum(axis=1), 1).astype(np.float32)
        above = np.flatnonzero(cosines > np.float32(threshold))
        if len(above):
            blocker[row], similarity[row] = kept[above[0]], cosines[above[0]]
        else:
            kept.append(row)
    return kept, blocker, similarity


def values(found: Filtered):
    return (
        found.kept.tolist(),
        found.blocker.tolist(),
        [None if np.isnan(one) else one for one in found.similarity],
    )


def circle(*degrees):
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def cloud(kind, seed, n=None):
    random = np.random.default_rng(seed)
    n, width = n or int(random.integers(20, 80)), int(random.integers(2, 6))
    normal = random.normal(size=(n, width)) + 1e-3
    return {
        "normal": normal,
        "grid": random.integers(0, 3, (n, width)) + np.eye(width)[random.integers(0, width, n)],
        "one direction": normal * 0.1 + 1,
        "duplicates": normal[random.integers(0, n // 3 + 1, n)],
        "scaled duplicates": normal[random.integers(0, n // 3 + 1, n)] * random.uniform(0.1, 9, (n, 1)),
        "opposite": normal * random.choice([-1, 1], (n, 1)),
    }[kind]


KINDS = ("normal", "grid", "one direction", "duplicates", "scaled duplicates", "opposite")

SCORES = np.array([17, 16, 15, 6, 15, 9])  # complexity times quality, summed over turns, of the six records
ANGLES = circle(0, 10, 30, 50, 60, 90)


@pytest.mark.parametrize(
    ("size", "threshold", "picks"),
    [
        (None, 0.9, [0, 2, 4, 5]),
        (100, 0.9, [0, 2, 4, 5]),
        (2, 0.9, [0, 2]),
        (1, 0.9, [0]),
        (0, 0.9, []),
        (None, 0.99, [0, 1, 2, 4, 5, 3]),
    ],
)
def test_repr_filter_deita_vectors_give_their_picks(size, threshold, picks):
    order = ranked(SCORES)
    found = repr_filter(ANGLES[order], size, threshold)
    assert order[found.kept].tolist() == picks


@pytest.mark.parametrize("block", BLOCKS)
def test_repr_filter_row_near_a_dropped_row_alone_is_kept(block):
    found = repr_filter(circle(0, 20, 40, 90, 91, 92), None, block=block)
    assert found.kept.tolist() == [0, 2, 3]
    assert found.blocker.tolist() == [-1, 0, -1, -1, 3, 3]
    assert found.similarity[[1, 4, 5]] == pytest.approx(np.cos(np.radians([20, 1, 2])), abs=1e-7)
    assert np.isnan(found.similarity[[0, 2, 3]]).all()


def test_repr_filter_several_kept_rows_too_similar_names_the_best_ranked():
    found = repr_filter(circle(0, 40, 21), None)
    assert found.blocker.tolist() == [-1, -1, 0]
    assert found.similarity[2] == pytest.approx(np.cos(np.radians(21)), abs=1e-7)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_repr_filter_ties_and_duplicates_equals_definition(kind, dtype, monkeypatch):
    monkeypatch.setattr(blockers, "TILE", 5)
    for seed, threshold in ((0, 0.9), (1, 0.99), (2, 0.5), (3, 0.0), (4, 1.0)):
        rows = cloud(kind, seed).astype(dtype)
        for block in BLOCKS:
            assert values(repr_filter(rows, None, threshold, block=block)) == naive(rows, None, threshold)


@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_repr_filter_equals_definition_at_thresholds_that_are_similarities(data):
    rows = cloud(data.draw(st.sampled_from(KINDS)), data.draw(st.integers(0, 1000)), data.draw(st.integers(2, 30)))
    rows = rows.astype(np.float32)
    size = data.draw(st.none() | st.integers(0, 40))
    one, other = data.draw(st.integers(0, len(rows) - 1)), data.draw(st.integers(0, len(rows) - 1))
    products = unit(rows)[one].astype(np.float64) * unit(rows)[other]
    at = np.float32(min(products.sum(), 1))
    for threshold in (at, np.nextafter(at, np.float32(-2)), np.nextafter(at, np.float32(2))):
        assume(-1 <= threshold <= 1)
        for block in BLOCKS:
            assert values(repr_filter(rows, size, float(threshold), block=block)) == naive(rows, size, threshold)


@pytest.mark.parametrize("width", [3, 384])
def test_repr_filter_pairs_within_rounding_of_the_threshold_are_settled_alike(width):
    random = np.random.default_rng(width)
    first = unit(random.normal(size=(1, width)))[0].astype(np.float64)
    aside = random.normal(size=(400, width))
    aside -= np.outer(aside @ first, first)
    aside /= np.linalg.norm(aside, axis=1, keepdims=True)
    cosine = 0.9 + random.uniform(-3e-7, 3e-7, (400, 1))
    rows = np.concatenate([first[None], cosine * first + np.sqrt(1 - cosine**2) * aside]).astype(np.float32)
    expected = naive(rows, None, 0.9)
    assert 20 < expected[1].count(0) < 380
    for block in BLOCKS:
        assert values(repr_filter(rows, None, block=block)) == expected


@pytest.mark.parametrize("kind", ["normal", "one direction"])
def test_repr_filter_equals_float64_cosines(kind):
    for seed in range(10):
        rows = cloud(kind, seed)
        exact = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        cosines = exact @ exact.T
        steps = np.sort(cosines[np.triu_indices(len(rows), 1)])
        steps = steps[len(steps) * 7 // 10 : len(steps) * 9 // 10]
        widest = int(np.diff(steps).argmax())
        assert steps[widest + 1] - steps[widest] > 3e-6
        threshold = float(steps[widest : widest + 2].mean())
        kept: list[int] = []
        for row in range(len(rows)):
            if not (cosines[row, kept] > threshold).any():
                kept.append(row)
        assert repr_filter(rows, None, threshold).kept.tolist() == kept


@settings(deadline=None, max_examples=40)
@given(
    kind=st.sampled_from(KINDS),
    seed=st.integers(0, 1000),
    threshold=st.sampled_from([0.3, 0.9, 0.99]),
    size=st.none() | st.integers(0, 40),
    cuts=st.lists(st.integers(0, 60), max_size=3),
    block=st.sampled_from([1, 3, 16, 1024]),
)
def test_repr_filter_continued_on_longer_prefixes_equals_whole(kind, seed, threshold, size, cuts, block):
    rows = cloud(kind, seed, 60)
    found = None
    for cut in [*sorted(cuts), len(rows)]:
        found = repr_filter(rows[:cut], size, threshold, earlier=found, block=block)
    whole = repr_filter(rows, size, threshold)
    assert values(found) == values(whole)
    assert (found.looked, found.threshold) == (whole.looked, whole.threshold)


def test_repr_filter_continued_with_more_room_equals_whole():
    rows = cloud("duplicates", 1, 100)
    found = None
    for size in (0, 1, 5, 5, 20, None):
        found = repr_filter(rows, size, earlier=found, block=8)
    assert values(found) == values(repr_filter(rows, None))


def test_repr_filter_continued_looks_at_no_row_again(monkeypatch):
    rows = cloud("normal", 2, 100)
    first = repr_filter(rows[:60], None)
    counted: list[int] = []
    monkeypatch.setattr(kernel, "unit", lambda some: counted.append(len(some)) or unit(some))
    repr_filter(rows, None, earlier=first)
    assert counted == [len(first.kept), 40]


@settings(deadline=None, max_examples=40)
@given(kind=st.sampled_from(KINDS), seed=st.integers(0, 1000), threshold=st.sampled_from([0.3, 0.9, 0.99]))
def test_repr_filter_properties_hold(kind, seed, threshold):
    rows = cloud(kind, seed)
    found = repr_filter(rows, None, threshold)
    units = unit(rows).astype(np.float64)
    among = units[found.kept] @ units[found.kept].T
    assert (among[~np.eye(len(among), dtype=bool)] <= threshold + 1e-6).all()
    blocked = np.setdiff1d(np.arange(len(rows)), found.kept)
    assert np.isin(found.blocker[blocked], found.kept).all()
    assert (found.blocker[blocked] < blocked).all()
    assert (found.similarity[blocked] > np.float32(threshold)).all()
    assert (found.blocker[found.kept] == -1).all()
    for size in (0, 1, len(found.kept) // 2):
        some = repr_filter(rows, size, threshold)
        assert some.kept.tolist() == found.kept[:size].tolist()
        assert some.looked == (some.kept[-1] + 1 if size else 0)
        assert (some.blocker[some.looked :] == -1).all()


def test_repr_filter_shuffled_input_keeps_the_same_rows():
    random = np.random.default_rng(5)
    rows, scores = cloud("duplicates", 5, 80), random.integers(0, 20, 80)
    ids = np.arange(80)
    expected = ranked(scores)[repr_filter(rows[ranked(scores)], 20).kept]
    for _ in range(5):
        shuffled = random.permutation(80)
        order = shuffled[np.lexsort((ids[shuffled], -scores[shuffled]))]
        assert order[repr_filter(rows[order], 20).kept].tolist() == expected.tolist()


def test_repr_filter_lengths_of_rows_do_not_matter():
    rows = cloud("duplicates", 8, 80)
    expected = values(repr_filter(rows, None))
    for scale in (2.0**-400, 2.0**-20, 2.0**50):
        assert values(repr_filter(rows * scale, None)) == expected


def test_repr_filter_threads_give_the_same():
    rows = np.random.default_rng(0).normal(size=(1500, 48)) + 0.9
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(values(repr_filter(rows, None, 0.7, block=400)))
    finally:
        torch.set_num_threads(before)
    assert found[0] == found[1]
    assert 100 < len(found[0][0]) < 1400


def test_repr_filter_exact_copies_are_all_dropped():
    rows = np.random.default_rng(0).normal(size=(300, 64)).astype(np.float16)
    found = repr_filter(np.concatenate([rows, rows]), None, 0.9999)
    assert found.kept.tolist() == list(range(300))
    assert found.blocker[300:].tolist() == list(range(300))
    assert found.similarity[300:] == pytest.approx(1, abs=2e-7)


@pytest.mark.parametrize("threshold", [1.0, 1 - 1e-9])
def test_repr_filter_at_threshold_one_keeps_equal_rows_and_compares_none(threshold, monkeypatch):
    compared: list[int] = []
    exact = blockers.similarities
    monkeypatch.setattr(blockers, "similarities", lambda some, others: compared.append(1) or exact(some, others))
    assert repr_filter(np.ones((600, 8)), None, threshold, block=256).kept.tolist() == list(range(600))
    assert not compared


def test_repr_filter_no_rows_keeps_none():
    found = repr_filter(np.empty((0, 4), np.float32), 3)
    assert (found.kept.tolist(), found.blocker.tolist(), found.looked) == ([], [], 0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_repr_filter_rows_without_direction_are_named(bad):
    rows = np.ones((5, 3), np.float32)
    rows[3, 1] = bad
    with pytest.raises(ValueError, match="row 3 holds"):
        repr_filter(rows, 1)
    rows[3] = 0
    with pytest.raises(ValueError, match="row 3 is zero"):
        repr_filter(rows, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": -1}, "size"),
        ({"size": 2.5}, "size"),
        ({"size": True}, "size"),
        ({"size": 1, "block": 0}, "block"),
        ({"size": 1, "threshold": 1.5}, "threshold"),
        ({"size": 1, "threshold": float("nan")}, "threshold"),
    ],
)
def test_repr_filter_numbers_that_are_none_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        repr_filter(ANGLES, **arguments)


def test_repr_filter_arrays_of_other_kinds_are_refused():
    for rows in (np.ones(3), np.ones((2, 2), int)):
        with pytest.raises(ValueError, match="embeddings"):
            repr_filter(rows, 1)


def test_repr_filter_earlier_outcome_of_another_walk_is_refused():
    first = repr_filter(ANGLES, None)
    with pytest.raises(ValueError, match=r"threshold 0\.9"):
        repr_filter(ANGLES, None, 0.8, earlier=first)
    with pytest.raises(ValueError, match="over 6 rows"):
        repr_filter(ANGLES[:5], None, earlier=first)
    with pytest.raises(ValueError, match="kept 3 rows"):
        repr_filter(ANGLES, 2, earlier=replace(first, kept=first.kept[:3]))


@pytest.mark.parametrize("threshold", [0.5, 0.9])
def test_repr_filter_on_a_device_takes_large_blocks_and_keeps_the_same_rows(threshold, monkeypatch):
    rows = np.random.default_rng(0).normal(size=(9000, 5))
    here, sizes = repr_filter(rows, None, threshold), []
    compared = blockers.Kept.blockers
    monkeypatch.setattr(
        blockers.Kept, "blockers", lambda kept, *given: sizes.append(len(given[0])) or compared(kept, *given)
    )
    there = repr_filter(rows, None, threshold, device="cpu:0")  # a device that is not called cpu
    assert values(there) == values(here)
    assert sizes == [4096, 4096, 808]
    assert (
        blockers.Kept(5, threshold, "cpu:0").tile > 16 * blockers.TILE == 16 * blockers.Kept(5, threshold, "cpu").tile
    )
