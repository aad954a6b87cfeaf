"""Passes for which there is no memory: they become smaller, and only a row that is too large alone has an error."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from operators.base import RowError
from operators.models.by_length import Budget
from operators.scoring import reward, scorer
from operators.scoring.passes import Passes


class Cramped(torch.nn.Module):
    """A model with memory for some tokens, whose one logit is the last token of a text."""

    def __init__(self, memory: int) -> None:
        super().__init__()
        self.memory = memory
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.passes: list[tuple[int, int]] = []

    def forward(self, input_ids, attention_mask):
        self.passes.append(tuple(input_ids.shape))
        if input_ids.numel() > self.memory:
            raise torch.OutOfMemoryError("CUDA out of memory")
        last = attention_mask.sum(1) - 1
        return SimpleNamespace(logits=input_ids.gather(1, last[:, None]).float())


def texts(*lengths: int) -> list[dict[str, list[int]]]:
    return [{"input_ids": [*[1] * (length - 1), 10 + at]} for at, length in enumerate(lengths)]


def test_a_pass_without_memory_is_halved_until_it_fits_and_no_row_has_an_error():
    rows = texts(3, 8, 8, 2, 8, 8, 8, 8, 8, 8, 5)
    model = Cramped(memory=20)
    passes = Passes(model, "right", padding=0, budget=Budget(64))
    found = passes.logits(rows)
    assert np.concatenate(found).tolist() == [10 + at for at in range(len(rows))]
    assert model.passes[:3] == [(8, 8), (4, 8), (2, 8)]
    assert passes.budget.tokens == 16
    model.passes.clear()
    passes.logits(rows)  # what was too large once is not tried again
    assert max(rows * tokens for rows, tokens in model.passes) <= 16


@pytest.mark.parametrize("budget", [1, 64])
def test_a_row_too_large_for_the_memory_is_the_only_one_with_an_error(budget):
    found = Passes(Cramped(memory=20), "right", padding=0, budget=Budget(budget)).logits(texts(3, 30, 8, 21, 8))
    errors = [each if isinstance(each, RowError) else each.tolist() for each in found]
    assert errors[::2] == [[10.0], [12.0], [14.0]]
    assert [str(each) for each in errors[1::2]] == [
        "out_of_memory: 30 tokens by themselves",
        "out_of_memory: 21 tokens by themselves",
    ]


def test_another_error_of_the_device_is_not_taken_for_a_lack_of_memory():
    model = Cramped(memory=0)
    model.forward = lambda input_ids: (_ for _ in ()).throw(torch.AcceleratorError("CUDA error: 700"))
    with pytest.raises(torch.AcceleratorError):
        Passes(model, "right", padding=0, budget=Budget(64)).logits(texts(3, 3))


def test_a_sample_with_one_turn_too_large_has_its_error_and_so_has_a_pair():
    error, logits = RowError("out_of_memory", "30 tokens by themselves"), np.zeros(6, np.float32)
    prompt = ({"input_ids": [1]}, False)
    assert scorer._value([prompt, prompt], [logits, error], np.arange(1, 7)) is error
    assert reward._value(error, False) is error
