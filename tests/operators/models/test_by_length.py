"""Samples of like length together: every one once, within the budget, and in smaller passes where memory runs out."""

import pytest
import torch

from operators.models.by_length import Budget, batches

LENGTHS = [3, 900, 20, 20, 1, 64, 7, 64]


def test_batches_hold_every_sample_once_and_keep_to_the_budget():
    found = list(batches(LENGTHS, 128))
    assert sorted(at for group in found for at in group) == list(range(len(LENGTHS)))
    assert found[0] == [1]
    assert all(len(group) * max(LENGTHS[at] for at in group) <= 128 for group in found[1:])


def run(budget: Budget, lengths, room: int) -> list[list[int]]:
    """The passes that were computed on a device with room for so many tokens."""
    computed = []

    def compute(group):
        if len(group) * max(lengths[at] for at in group) > room:
            raise torch.OutOfMemoryError
        computed.append(group)

    budget.run(lengths, compute)
    return computed


@pytest.mark.parametrize("room", [900, 1000, 100_000])
def test_every_sample_is_computed_once_whatever_the_room(room):
    budget = Budget(100_000)
    found = run(budget, LENGTHS, room)
    assert sorted(at for group in found for at in group) == list(range(len(LENGTHS)))
    assert budget.tokens == (100_000 if room == 100_000 else 900)


def test_the_budget_is_halved_until_passes_fit_and_stays_so():
    budget = Budget(4096)
    lengths = [10] * 300
    run(budget, lengths, room=1000)
    assert budget.tokens == 750  # 3,000 tokens were tried, and 1,500
    assert max(map(len, run(budget, lengths, room=750))) == 75


def test_only_a_sample_that_does_not_fit_alone_is_at_fault():
    budget = Budget(4096)
    with pytest.raises(torch.OutOfMemoryError):
        run(budget, LENGTHS, room=500)
    assert budget.tokens == 900
    small = [length for length in LENGTHS if length < 900]
    assert len([at for group in run(budget, small, room=500) for at in group]) == 7
