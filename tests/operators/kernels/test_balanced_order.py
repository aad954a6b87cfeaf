"""The order in which labels take turns."""

import numpy as np

from operators.kernels.sampling import balanced_order


def test_labels_take_turns_as_long_as_each_has_rows():
    labels = np.repeat(["a", "b", "c"], [50, 5, 20])
    order = balanced_order(labels, seed=3)
    assert sorted(order.tolist()) == list(range(75))
    for first, expected in ((15, (5, 5, 5)), (35, (15, 5, 15)), (75, (50, 5, 20))):
        counts = tuple(int((labels[order[:first]] == name).sum()) for name in "abc")
        assert counts == expected
    assert balanced_order(labels, seed=3).tolist() == order.tolist()
    assert balanced_order(labels, seed=4).tolist() != order.tolist()


def test_ten_thousand_sources_and_none():
    labels = np.arange(10_000).astype(str)
    assert sorted(balanced_order(labels, 0).tolist()) == list(range(10_000))
    assert balanced_order(labels, 0)[:100].tolist() != list(range(100))
    assert len(balanced_order(labels[:0], 0)) == 0
