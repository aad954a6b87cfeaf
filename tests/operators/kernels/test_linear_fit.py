"""Least squares against planted coefficients and against numpy and the textbook's formulas."""

import numpy as np
import pytest

from operators.kernels.linear_fit import best_fits, constant_columns, fit

NAMES = ("rew", "und", "nat", "coh")
ROWS = np.array(
    [
        (0, 0.8, 0.9, 0.7),
        (1, 0.9, 0.8, 0.6),
        (2, 0.7, 0.6, 0.9),
        (0.5, 0.6, 0.7, 0.8),
        (1.5, 0.5, 0.9, 0.9),
        (3, 0.95, 0.5, 0.5),
    ]
)
LOGS = np.array([-0.0144, 0.06933, -0.00825, -0.05768, -0.18913, 0.187395])


def test_the_published_rule_comes_back_from_six_rows():
    found = fit(dict(zip(NAMES, ROWS.T, strict=True)), LOGS)
    values = [found.constant.value, *(found.coefficients[name].value for name in NAMES)]
    assert values == pytest.approx([0.0274, -0.0078, 0.4421, -0.3212, -0.1520], abs=1e-9)
    assert found.r2 == pytest.approx(1)


@pytest.fixture
def planted():
    rng = np.random.default_rng(0)
    columns = {
        "length": rng.uniform(100, 3000, 60),
        "share": rng.uniform(0, 1, 60),
        "luck": rng.standard_normal(60),
    }
    columns["echo"] = columns["share"] + 0.1 * rng.standard_normal(60)
    y = 1 + 2e-4 * columns["length"] - 0.7 * columns["share"] + 0.02 * rng.standard_normal(60)
    return columns, y


def test_errors_p_values_and_inflation_are_those_of_the_textbook(planted):
    columns, y = planted
    found = fit(columns, y)
    design = np.column_stack([np.ones(60), *columns.values()])
    weights = np.linalg.lstsq(design, y, rcond=None)[0]
    left = y - design @ weights
    errors = np.sqrt(np.diag(np.linalg.inv(design.T @ design)) * (left @ left) / (60 - 5))
    for at, name in enumerate(columns, start=1):
        assert found.coefficients[name].value == pytest.approx(weights[at], rel=1e-6)
        assert found.coefficients[name].error == pytest.approx(errors[at], rel=1e-6)
        others = np.delete(design, at, axis=1)
        rest = design[:, at] - others @ np.linalg.lstsq(others, design[:, at], rcond=None)[0]
        r2 = 1 - rest @ rest / np.square(design[:, at] - design[:, at].mean()).sum()
        assert found.inflation[name] == pytest.approx(1 / (1 - r2), rel=1e-6)
    assert found.inflation["echo"] > 5 > found.inflation["luck"]
    assert found.coefficients["length"].p < 1e-6 < 0.05 < found.coefficients["luck"].p
    assert found.adjusted == pytest.approx(1 - (1 - found.r2) * 59 / 55)
    assert found.adjusted > found.cross_validated > 0.9


def test_each_number_of_columns_has_its_best_fit(planted):
    columns, y = planted
    found = best_fits(columns, y)
    assert [list(each.coefficients) for each in found[:2]] == [["share"], ["length", "share"]]
    assert [len(each.coefficients) for each in found] == [1, 2, 3, 4]
    assert [each.r2 for each in found] == sorted(each.r2 for each in found)
    noise = np.random.default_rng(1).standard_normal(60)
    assert best_fits(columns, noise)[-1].cross_validated < 0.2


def test_columns_that_say_the_same_are_in_no_fit_together_and_constant_ones_are_named(planted):
    columns, y = planted
    columns = {**columns, "twice": 2 * columns["share"] + 1, "always": np.full(60, 0.1)}
    assert constant_columns(columns) == ["always"]
    del columns["always"]
    for each in best_fits(columns, y):
        assert not {"share", "twice"} <= set(each.coefficients)
    with pytest.raises(ValueError, match="do not determine"):
        fit({name: columns[name] for name in ("share", "twice")}, y)


def test_too_few_rows_make_no_fit(planted):
    columns, y = planted
    few = {name: values[:4] for name, values in columns.items()}
    assert [len(each.coefficients) for each in best_fits(few, y[:4])] == [1, 2]
    assert best_fits({"x": np.arange(2.0)}, np.arange(2.0)) == []
