"""Samples of like length together: every one once, within the budget."""

from operators.models.by_length import batches


def test_batches_hold_every_sample_once_and_keep_to_the_budget():
    lengths = [3, 900, 20, 20, 1, 64, 7, 64]
    found = list(batches(lengths, 128))
    assert sorted(at for group in found for at in group) == list(range(len(lengths)))
    assert found[0] == [1]
    assert all(len(group) * max(lengths[at] for at in group) <= 128 for group in found[1:])
