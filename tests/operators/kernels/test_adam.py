"""LESS's features of gradients against values worked out by hand and against torch's own optimiser."""

import numpy as np
import pytest
import torch

from operators.kernels.adam import adam_feature, check_moments, sgd_feature

HAND = {
    "gradients": torch.tensor([[1.0, 0.5]]),
    "first": torch.tensor([0.1, -0.2]),
    "second": torch.tensor([0.01, 0.04]),
}
TINY = {
    "gradients": torch.tensor([[1e-5, 5e-6]]),
    "first": torch.tensor([1e-6, -2e-6]),
    "second": torch.tensor([1e-12, 4e-12]),
}


def test_adam_feature_hand_values():
    assert adam_feature(**HAND)[0].tolist() == pytest.approx([1.8124021, -0.6483004], rel=1e-6)


def test_adam_feature_of_tiny_gradients_depends_on_where_epsilon_is():
    inside, outside = adam_feature(**TINY)[0], adam_feature(**TINY, placement="outside")[0]
    assert inside.tolist() == pytest.approx([0.018999, -0.012997], rel=1e-4)
    assert outside.tolist() == pytest.approx([1.79528, -0.64508], rel=1e-5)
    assert torch.cosine_similarity(inside, outside, dim=0).item() == pytest.approx(0.96766, abs=1e-5)


def test_adam_feature_outside_is_the_step_of_torch_s_adam_once_its_bias_correction_is_over():
    random = torch.Generator().manual_seed(0)
    gradient, first = torch.randn(20, generator=random), torch.randn(20, generator=random)
    second, weights = torch.rand(20, generator=random), torch.zeros(20)
    found = adam_feature(gradient[None], first, second, betas=(0.8, 0.99), epsilon=1e-3, placement="outside")[0]
    # The optimiser's own kernel: torch.optim itself would load the compiler first.
    settings = {"lr": 1.0, "beta1": 0.8, "beta2": 0.99, "weight_decay": 0.0, "eps": 1e-3}
    modes = {"amsgrad": False, "maximize": False}
    torch._fused_adam_([weights], [gradient], [first], [second], [], [torch.tensor(1e6)], **settings, **modes)
    np.testing.assert_allclose(found, -weights, rtol=1e-5)


def test_adam_feature_slices_and_rows_stand_by_themselves():
    random = torch.Generator().manual_seed(1)
    gradients = torch.randn(5, 30, generator=random)
    first, second = torch.randn(30, generator=random), torch.rand(30, generator=random)
    whole = adam_feature(gradients, first, second)
    parts = [adam_feature(gradients[:, part], first[part], second[part]) for part in (slice(0, 7), slice(7, 30))]
    assert torch.equal(torch.cat(parts, 1), whole)
    assert torch.equal(adam_feature(gradients[3:4], first, second)[0], whole[3])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_adam_feature_of_halves_is_computed_in_float32(dtype):
    given = {name: part.to(dtype) for name, part in HAND.items()}
    found = adam_feature(**given)
    assert found.dtype == torch.float32
    assert torch.equal(found, adam_feature(**{name: part.float() for name, part in given.items()}))


def test_adam_feature_leaves_what_it_is_given_alone():
    before = {name: part.clone() for name, part in HAND.items()}
    adam_feature(**HAND)
    assert all(torch.equal(HAND[name], part) for name, part in before.items())


def test_adam_feature_that_is_not_finite_shows():
    gradients = torch.tensor([[1.0, float("nan")], [1.0, 0.5]])
    found = adam_feature(gradients, HAND["first"], HAND["second"])
    assert found.isfinite().all(1).tolist() == [False, True]


def test_sgd_feature_is_the_gradient():
    gradients = torch.tensor([[1e-6, -2.0]], dtype=torch.bfloat16)
    assert sgd_feature(gradients).dtype == torch.float32
    assert torch.equal(sgd_feature(gradients), gradients.float())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gradients": torch.ones(2)}, "gradients"),
        ({"first": torch.ones(3)}, "first moment"),
        ({"second": torch.ones(3)}, "second moment"),
        ({"betas": (0.9, 1.0)}, "betas"),
        ({"epsilon": 0.0}, "epsilon"),
        ({"placement": "beside"}, "placement"),
    ],
)
def test_adam_feature_what_makes_no_step_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        adam_feature(**{**HAND, **change})


@pytest.mark.parametrize("placement", ["inside", "outside"])
def test_adam_feature_never_waits_for_a_value(placement):
    # A tensor on this device has no values: whoever asks for one, as an `if` does, gets an error.
    shapes = {"gradients": (3, 5), "first": (5,), "second": (5,)}
    given = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    assert adam_feature(**given, placement=placement).shape == (3, 5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"second": torch.tensor([0.1, -0.1])}, "negative"),
        ({"second": torch.tensor([0.1, float("nan")])}, "second moment holds a NaN"),
        ({"first": torch.tensor([0.1, float("inf")])}, "first moment holds"),
    ],
)
def test_check_moments_what_no_adam_leaves_is_refused(change, message):
    given = {"first": HAND["first"], "second": HAND["second"]}
    check_moments(**given)
    with pytest.raises(ValueError, match=message):
        check_moments(**{**given, **change})
