"""LoBaSS's scores against values worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.kernels.loss_based import Losses, learnability
from operators.kernels.ranking import ranked

VERSIONS = ["v1_unnormalised", "v1_normalised", "v2"]
BASE = [2, 1, 4, 0.05, 1.5, 0.2]
REFERENCE = [1, 0.4, 3, 0.04, 1.8, 0.02]

losses = st.lists(st.tuples(st.floats(1e-3, 1e3), st.floats(0, 1e3), st.integers(1, 500)), min_size=1, max_size=20)


def of_means(means, tokens=None):
    tokens = np.full(len(means), 10) if tokens is None else np.array(tokens)
    return Losses(np.array(means, float) * tokens, tokens)


def test_learnability_hand_values():
    unnormalised = learnability(of_means(BASE), of_means(REFERENCE), version="v1_unnormalised")
    assert unnormalised.tolist() == pytest.approx([1, 0.6, 1, 0.01, -0.3, 0.18])
    assert "".join("ABCDEF"[at] for at in ranked(unnormalised)) == "ACBFDE"
    for version in ("v1_normalised", "v2"):
        scores = learnability(of_means(BASE), of_means(REFERENCE), version=version)
        assert scores.tolist() == pytest.approx([0.5, 0.6, 0.25, 0.2, -0.2, 0.9])
        assert "".join("ABCDEF"[at] for at in ranked(scores)) == "FBACDE"


def test_learnability_default_is_version_two():
    base, reference = of_means(BASE), of_means(REFERENCE)
    assert learnability(base, reference).tolist() == learnability(base, reference, version="v2").tolist()


def test_learnability_reduction_counts_where_nothing_is_divided():
    base, reference = of_means([2, 2], [10, 3]), of_means([1, 1], [10, 3])
    by_sum = learnability(base, reference, version="v1_unnormalised", reduction="sum")
    assert by_sum.tolist() == [10, 3]
    assert learnability(base, reference, version="v1_unnormalised").tolist() == [1, 1]
    for reduction in ("mean", "sum"):
        assert learnability(base, reference, reduction=reduction).tolist() == [0.5, 0.5]


@given(losses)
def test_learnability_of_a_reference_that_is_the_base_is_zero(rows):
    sums, _, tokens = map(np.array, zip(*rows, strict=True))
    for version in VERSIONS:
        for reduction in ("mean", "sum"):
            same = Losses(sums, tokens)
            assert (learnability(same, same, version=version, reduction=reduction) == 0).all()


@given(losses, st.integers(-20, 20))
def test_learnability_normalised_is_at_most_one_and_blind_to_scale_and_company(rows, power):
    before, after, tokens = map(np.array, zip(*rows, strict=True))
    scores = learnability(Losses(before, tokens), Losses(after, tokens))
    assert (scores <= 1).all()
    scaled = learnability(Losses(before * 2.0**power, tokens), Losses(after * 2.0**power, tokens))
    assert scaled.tolist() == scores.tolist()
    alone = learnability(Losses(before[:1], tokens[:1]), Losses(after[:1], tokens[:1]))
    assert alone[0] == scores[0]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("version", VERSIONS)
def test_learnability_what_cannot_be_scored_is_nan_and_last(version):
    base = Losses(np.array([0.0, np.nan, 5.0, np.inf, 0.0, 4.0]), np.array([0, 5, 5, 5, 5, 4]))
    reference = Losses(np.array([0.0, 1.0, np.inf, np.inf, 1.0, 8.0]), np.array([0, 5, 5, 5, 5, 4]))
    scores = learnability(base, reference, version=version)
    without = [True, True, True, True, version != "v1_unnormalised", False]
    assert np.isnan(scores).tolist() == without
    assert ranked(scores)[0] == (4 if version == "v1_unnormalised" else 5)


def test_learnability_float32_losses_are_subtracted_in_float64():
    base = Losses(np.array([1.0000001], np.float32), np.array([3], np.int32))
    reference = Losses(np.array([1.0], np.float32), np.array([3], np.int32))
    exact = float(np.float32(1.0000001)) - 1
    for version in VERSIONS:
        found = learnability(base, reference, version=version, reduction="sum")
        assert found.dtype == np.float64
        assert found[0] == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize(
    ("base", "reference", "options", "message"),
    [
        (of_means([1, 2]), of_means([1]), {}, "columns of 1 and 2"),
        (of_means([1, 2], [3, 4]), of_means([1, 2], [3, 5]), {}, "sample 1 has 4 tokens under the base model and 5"),
        (of_means([1, -2]), of_means([1, 2]), {}, "sample 1: base loss"),
        (of_means([1, 2]), of_means([-1, 2]), {}, "sample 0: reference loss"),
        (Losses(np.ones(1), np.array([-1])), Losses(np.ones(1), np.array([-1])), {}, "sample 0: tokens"),
        (of_means([1]), of_means([1]), {"version": "v3"}, "version"),
        (of_means([1]), of_means([1]), {"reduction": "max"}, "reduction"),
    ],
)
def test_learnability_what_does_not_fit_is_refused(base, reference, options, message):
    with pytest.raises(ValueError, match=message):
        learnability(base, reference, **options)


def test_losses_means_are_nan_without_tokens():
    assert Losses(np.array([6.0, 0.0]), np.array([3, 0])).means().tolist() == pytest.approx([2, np.nan], nan_ok=True)
