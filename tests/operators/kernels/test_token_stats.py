"""Token statistics against softmax in float64, and against values worked out by hand."""

import math

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode

from operators.kernels.token_stats import TokenStats, el2n, sample_stats, token_stats

HAND = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]])
HAND_LABELS = torch.tensor([0, 2])


def case(tokens=37, width=12, classes=50, seed=0, scale=1.0):
    random = torch.Generator().manual_seed(seed)
    hidden = torch.randn(tokens, width, generator=random) * scale
    head, bias = torch.randn(classes, width, generator=random), torch.randn(classes, generator=random)
    return hidden, head, torch.randint(classes, (tokens,), generator=random), bias


def plain(hidden, head, targets, bias=None):
    """The definition, in float64 over all logits."""
    logits = hidden.double() @ head.double().T
    logits = logits if bias is None else logits + bias.double()
    errors = logits.softmax(1) - torch.nn.functional.one_hot(targets, logits.shape[1])
    return torch.nn.functional.cross_entropy(logits, targets, reduction="none"), errors.norm(dim=1)


@pytest.mark.parametrize("tile", [None, (1, 2), (7, 9), (37, 50), (5, 1000), (4, 7)])
@pytest.mark.parametrize("scale", [0.01, 1.0, 8.0])
def test_token_stats_any_tile_equals_softmax_on_everything(tile, scale):
    hidden, head, targets, bias = case(scale=scale)
    for offset in (None, bias):
        found = token_stats(hidden, head, targets, offset, tile=tile)
        nll, errors = plain(hidden, head, targets, offset)
        np.testing.assert_allclose(found.nll.double(), nll, atol=3e-5, rtol=1e-5)
        np.testing.assert_allclose(found.el2n.double(), errors, atol=3e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_token_stats_of_any_precision_are_float32_of_the_given_values(dtype):
    hidden, head, targets, bias = (part.to(dtype) if part.is_floating_point() else part for part in case())
    found = token_stats(hidden, head, targets, bias, tile=(8, 16))
    nll, errors = plain(hidden, head, targets, bias)
    assert found.nll.dtype == found.el2n.dtype == torch.float32
    np.testing.assert_allclose(found.nll.double(), nll, atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(found.el2n.double(), errors, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("doubt", [1e-3, 1e-4, 1e-5, 1e-7, 1e-12])
def test_token_stats_of_a_certain_token_keep_their_digits(doubt):
    classes = 32_000
    noise = torch.randn(classes - 1, generator=torch.Generator().manual_seed(1)).double()
    others = (noise.softmax(0).log() + math.log(doubt)).float()
    logits = torch.cat([others[:777], torch.tensor([math.log1p(-doubt)]), others[777:]])[None]
    # As a layer of width 1 whose weights are the logits.
    found = token_stats(torch.ones(1, 1), logits.T.contiguous(), torch.tensor([777]), tile=(1, 4096))
    spread = noise.softmax(0).square().sum().item()
    assert found.el2n.item() == pytest.approx(doubt * math.sqrt(1 + spread), rel=2e-5)
    assert found.nll.item() == pytest.approx(-math.log1p(-doubt), rel=2e-5)
    assert el2n(logits, torch.tensor([777])).item() == pytest.approx(found.el2n.item(), rel=1e-5)


def test_token_stats_never_form_all_logits():
    class Largest(TorchFunctionMode):
        elements = 0

        def __torch_function__(self, function, types, arguments=(), options=None):
            made = function(*arguments, **(options or {}))
            if isinstance(made, torch.Tensor):
                self.elements = max(self.elements, made.numel())
            return made

    hidden, head, targets, _ = case(tokens=200, width=3, classes=5000)
    with Largest() as largest:
        token_stats(hidden, head, targets, tile=(50, 100))
    assert largest.elements == 50 * 100


def test_token_stats_masked_logits_and_bad_ones():
    head = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    shut = torch.tensor([0.0, 0.0, -math.inf, -math.inf])
    found = token_stats(torch.ones(1, 1), head, torch.tensor([1]), shut, tile=(1, 2))
    assert found.nll.item() == pytest.approx(math.log(1 + math.exp(-1)), rel=1e-6)
    only = token_stats(torch.ones(1, 1), head, torch.tensor([1]), torch.tensor([-math.inf, 0, -math.inf, -math.inf]))
    assert (only.nll.item(), only.el2n.item()) == (0, 0)
    never = token_stats(torch.ones(1, 1), head, torch.tensor([2]), shut)
    assert never.nll.item() == math.inf
    assert never.el2n.item() == pytest.approx(plain(torch.ones(1, 1), head, torch.tensor([2]), shut)[1].item())
    for bad in (math.nan, math.inf):
        for target in range(4):
            stats = token_stats(torch.tensor([[bad], [1.0]]), head, torch.tensor([target, 0]), tile=(2, 3))
            assert stats.nll.isnan().tolist() == stats.el2n.isnan().tolist() == [True, False]


def test_token_stats_without_tokens_are_empty():
    hidden, head, _, _ = case()
    found = token_stats(hidden[:0], head, torch.empty(0, dtype=torch.int64))
    assert len(found.nll) == len(found.el2n) == 0
    assert sample_stats(found, torch.empty(0, dtype=torch.int64), 2).tokens.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"targets": torch.tensor([0, -100])}, "target -100 at position 1 is not in 0 … 3"),
        ({"targets": torch.tensor([0, 4])}, "target 4 at position 1"),
        ({"targets": torch.tensor([0.0, 1.0])}, "int64"),
        ({"targets": torch.tensor([0])}, "targets"),
        ({"hidden": torch.zeros(2, 5)}, "floats wanted"),
        ({"hidden": torch.zeros(2, 3, dtype=torch.int64)}, "floats wanted"),
        ({"head": torch.zeros(3)}, "head"),
        ({"head": torch.zeros(1, 3), "targets": torch.tensor([0, 0])}, "two classes"),
        ({"bias": torch.zeros(5)}, "bias"),
    ],
)
def test_token_stats_what_does_not_fit_is_refused(change, message):
    given = {"hidden": torch.zeros(2, 3), "head": torch.zeros(4, 3), "targets": torch.tensor([0, 3]), **change}
    with pytest.raises(ValueError, match=message):
        token_stats(**given)


def test_el2n_hand_values():
    assert el2n(HAND.log(), HAND_LABELS).tolist() == pytest.approx([math.sqrt(0.14), math.sqrt(1.46)], rel=1e-6)
    uniform = el2n(torch.zeros(1, 10), torch.tensor([3]))
    assert uniform.item() == pytest.approx(math.sqrt(1 - 1 / 10), rel=1e-6)
    certainly_wrong = el2n(torch.tensor([[90.0, 0.0]]), torch.tensor([1]))
    assert certainly_wrong.item() == pytest.approx(math.sqrt(2), rel=1e-6)


def test_el2n_linear_softmax_gives_published_values_and_its_gradient_norms():
    weights = torch.tensor([[1.0, 0, -1], [0, 2, 0]], requires_grad=True)
    bias = torch.zeros(3, requires_grad=True)
    inputs, labels = torch.tensor([[1.0, 0], [0, 1], [1, 1]]), torch.tensor([0, 0, 2])
    errors = el2n(inputs @ weights + bias, labels)
    assert errors.tolist() == pytest.approx([0.42433614, 1.1954165, 1.2230703], rel=1e-6)
    norms = []
    for row, label in zip(inputs, labels, strict=True):
        loss = torch.nn.functional.cross_entropy((row @ weights + bias)[None], label[None])
        norms.append(math.sqrt(sum(part.square().sum().item() for part in torch.autograd.grad(loss, [weights, bias]))))
    expected = errors * (inputs.square().sum(1) + 1).sqrt()
    assert norms == pytest.approx(expected.tolist(), rel=1e-5)
    assert expected.tolist() == pytest.approx([0.60010195, 1.6905742, 2.1184201], rel=1e-6)


def test_el2n_leaves_its_logits_alone():
    logits = HAND.log()
    before = logits.clone()
    el2n(logits, HAND_LABELS)
    assert torch.equal(logits, before)


def test_sample_stats_hand_values_and_a_sample_without_tokens():
    errors = el2n(HAND.log(), HAND_LABELS)
    stats = TokenStats(nll=-HAND.log()[[0, 1], HAND_LABELS], el2n=errors)
    found = sample_stats(stats, torch.tensor([1, 1]), 3)
    assert found.tokens.tolist() == [0, 2, 0]
    assert found.el2n_mean[1].item() == pytest.approx(0.791235, abs=1e-6)
    assert found.el2n_sum[1].item() == pytest.approx(1.582471, abs=1e-6)
    assert found.el2n_fro[1].item() == pytest.approx(1.264911, abs=1e-6)
    assert found.nll_sum[1].item() == pytest.approx(-math.log(0.7) - math.log(0.1), rel=1e-6)
    assert found.nll_mean[1].item() == pytest.approx(found.nll_sum[1].item() / 2, rel=1e-6)
    for values in (found.nll_sum, found.nll_mean, found.el2n_sum, found.el2n_mean, found.el2n_fro):
        assert values.dtype == torch.float32
        assert values.isnan().tolist() == [True, False, True]


def test_sample_stats_tokens_in_any_order_and_company_give_the_same():
    hidden, head, targets, _ = case(tokens=60)
    samples = torch.arange(60) % 7
    whole = sample_stats(token_stats(hidden, head, targets), samples, 7)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(3))
    mixed = sample_stats(token_stats(hidden[order], head, targets[order]), samples[order], 7)
    own = samples == 4
    alone = sample_stats(token_stats(hidden[own], head, targets[own]), samples[own], 7)
    np.testing.assert_allclose(mixed.nll_mean, whole.nll_mean, atol=1e-6, rtol=1e-6)
    np.testing.assert_allclose(mixed.el2n_fro, whole.el2n_fro, atol=1e-6, rtol=1e-6)
    np.testing.assert_allclose(alone.el2n_mean[4], whole.el2n_mean[4], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    ("samples", "message"), [([0, 2], "sample 2 at position 1"), ([0], "samples"), ([-1, 0], "-1")]
)
def test_sample_stats_wrong_numbers_are_refused(samples, message):
    stats = TokenStats(torch.zeros(2), torch.zeros(2))
    with pytest.raises(ValueError, match=message):
        sample_stats(stats, torch.tensor(samples), 2)
