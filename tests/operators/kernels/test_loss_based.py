"""LoBaSS's scores against values worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.kernels.loss_based import learnability, worth_learning
from operators.kernels.ranking import ranked

VERSIONS = ["v1_unnormalised", "v1_normalised", "v2"]
BASE = [2, 1, 4, 0.05, 1.5, 0.2]
REFERENCE = [1, 0.4, 3, 0.04, 1.8, 0.02]

losses = st.lists(st.tuples(st.floats(1e-3, 1e3), st.floats(0, 1e3), st.integers(1, 500)), min_size=1, max_size=20)


def of_means(means, tokens=None):
    """Summed losses and token counts of responses with these losses per token."""
    tokens = np.full(len(means), 10) if tokens is None else np.array(tokens)
    return np.array(means, float) * tokens, tokens


def test_learnability_hand_values():
    unnormalised = learnability(*of_means(BASE), *of_means(REFERENCE), version="v1_unnormalised")
    assert unnormalised.tolist() == pytest.approx([1, 0.6, 1, 0.01, -0.3, 0.18])
    assert "".join("ABCDEF"[at] for at in ranked(unnormalised)) == "ACBFDE"
    for version in ("v1_normalised", "v2"):
        scores = learnability(*of_means(BASE), *of_means(REFERENCE), version=version)
        assert scores.tolist() == pytest.approx([0.5, 0.6, 0.25, 0.2, -0.2, 0.9])
        assert "".join("ABCDEF"[at] for at in ranked(scores)) == "FBACDE"


def test_learnability_default_is_version_two():
    base, reference = of_means(BASE), of_means(REFERENCE)
    assert learnability(*base, *reference).tolist() == learnability(*base, *reference, version="v2").tolist()


def test_learnability_reduction_counts_where_nothing_is_divided():
    base, reference = of_means([2, 2], [10, 3]), of_means([1, 1], [10, 3])
    by_sum = learnability(*base, *reference, version="v1_unnormalised", reduction="sum")
    assert by_sum.tolist() == [10, 3]
    assert learnability(*base, *reference, version="v1_unnormalised").tolist() == [1, 1]
    for reduction in ("mean", "sum"):
        assert learnability(*base, *reference, reduction=reduction).tolist() == [0.5, 0.5]


@given(losses)
def test_learnability_of_a_reference_that_is_the_base_is_zero(rows):
    sums, _, tokens = map(np.array, zip(*rows, strict=True))
    for version in VERSIONS:
        for reduction in ("mean", "sum"):
            same = (sums, tokens)
            assert (learnability(*same, *same, version=version, reduction=reduction) == 0).all()


@given(losses, st.integers(-20, 20))
def test_learnability_normalised_is_at_most_one_and_blind_to_scale_and_company(rows, power):
    before, after, tokens = map(np.array, zip(*rows, strict=True))
    scores = learnability(before, tokens, after, tokens)
    assert (scores <= 1).all()
    scaled = learnability(before * 2.0**power, tokens, after * 2.0**power, tokens)
    assert scaled.tolist() == scores.tolist()
    alone = learnability(before[:1], tokens[:1], after[:1], tokens[:1])
    assert alone[0] == scores[0]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("version", VERSIONS)
def test_learnability_what_cannot_be_scored_is_nan_and_last(version):
    base = (np.array([0.0, np.nan, 5.0, np.inf, 0.0, 4.0]), np.array([0, 5, 5, 5, 5, 4]))
    reference = (np.array([0.0, 1.0, np.inf, np.inf, 1.0, 8.0]), np.array([0, 5, 5, 5, 5, 4]))
    scores = learnability(*base, *reference, version=version)
    without = [True, True, True, True, version != "v1_unnormalised", False]
    assert np.isnan(scores).tolist() == without
    assert ranked(scores)[0] == (4 if version == "v1_unnormalised" else 5)


def test_learnability_float32_losses_are_subtracted_in_float64():
    base = (np.array([1.0000001], np.float32), np.array([3], np.int32))
    reference = (np.array([1.0], np.float32), np.array([3], np.int32))
    exact = float(np.float32(1.0000001)) - 1
    for version in VERSIONS:
        found = learnability(*base, *reference, version=version, reduction="sum")
        assert found.dtype == np.float64
        assert found[0] == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize(
    ("base", "reference", "options", "message"),
    [
        (of_means([1, 2]), of_means([1]), {}, "columns of 1 and 2"),
        (of_means([1, 2], [3, 4]), of_means([1, 2], [3, 5]), {}, "sample 1 has 4 tokens under the base model and 5"),
        (of_means([1, -2]), of_means([1, 2]), {}, "sample 1: base loss"),
        (of_means([1, 2]), of_means([-1, 2]), {}, "sample 0: reference loss"),
        ((np.ones(1), np.array([-1])), (np.ones(1), np.array([-1])), {}, "sample 0: tokens"),
        (of_means([1]), of_means([1]), {"version": "v3"}, "version"),
        (of_means([1]), of_means([1]), {"reduction": "max"}, "reduction"),
    ],
)
def test_learnability_what_does_not_fit_is_refused(base, reference, options, message):
    with pytest.raises(ValueError, match=message):
        learnability(*base, *reference, **options)


def test_what_divides_the_fall_changes_the_score_and_not_the_order():
    before, after = np.array(BASE), np.array(REFERENCE)
    by_reference = (before - after) / after
    assert by_reference.tolist() == pytest.approx([1, 1.5, 1 / 3, 0.25, -1 / 6, 9])
    assert ranked(by_reference).tolist() == ranked(learnability(*of_means(BASE), *of_means(REFERENCE))).tolist()


@pytest.mark.parametrize(
    ("floors", "wanted"),
    [
        ({}, "ABCDEF"),
        ({"least_score": 0.0}, "ABCDF"),
        ({"least_score": 0.25}, "ABCF"),
        ({"least_loss": 0.3}, "ABCE"),
        ({"least_tokens": 3}, "CDEF"),
        ({"least_score": 0.0, "least_loss": 0.3, "least_tokens": 3}, "C"),
    ],
)
def test_floors_leave_out_what_is_below_them(floors, wanted):
    scores = learnability(*of_means(BASE), *of_means(REFERENCE))
    found = worth_learning(scores, np.array(BASE), np.array([1, 2, 3, 4, 5, 6]), **floors)
    assert "".join(np.array(list("ABCDEF"))[found]) == wanted


def test_no_score_is_above_no_floor():
    assert worth_learning(np.array([np.nan, 0.0]), np.ones(2), np.ones(2)).tolist() == [False, True]
