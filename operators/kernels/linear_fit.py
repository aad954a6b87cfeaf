"""Ordinary least squares of one column on others, with what one needs to believe it: errors, p-values, collinearity.

The highest R² always has all columns. So the best fit is looked for among fits of each number of columns, and the
numbers are compared by adjusted R², or by how well rows are predicted that a fit has not seen.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

SAME = 1e-12
"""The range of a column, as a part of its largest value, up to which it is constant."""


@dataclass(frozen=True)
class Estimate:
    """A number that was fitted."""

    value: float
    error: float
    """Its standard error."""
    p: float
    """The probability of an estimate this far from 0 if it were 0."""


@dataclass(frozen=True)
class Fit:
    """A fit of y = constant + the sum of coefficient times column."""

    constant: Estimate
    coefficients: Mapping[str, Estimate]
    """By the name of the column."""
    inflation: Mapping[str, float]
    """The variance inflation factor of each column: above 5 or 10, the others say nearly the same."""
    rows: int
    r2: float
    adjusted: float
    cross_validated: float
    """R² of rows, each predicted by a fit without it and others; below 0, worse than their mean."""


def constant_columns(columns: Mapping[str, np.ndarray]) -> list[str]:
    """The names of the columns that have the same value in all rows."""
    spans = {name: (np.ptp(values), np.abs(values).max(initial=0)) for name, values in columns.items()}
    return [name for name, (span, largest) in spans.items() if span <= SAME * largest]


def best_fits(columns: Mapping[str, np.ndarray], y: np.ndarray, folds: int = 5, seed: int = 0) -> list[Fit]:
    """The fit with the highest R² for each number of columns, from one up.

    columns: (n,) each, none of them constant. Columns that are sums of others are in no fit together. Empty where there
    are too few rows for a fit: a fit of k columns wants k + 2.
    """
    found = []
    for size in range(1, len(columns) + 1):
        if len(y) < size + 2:
            break
        sets = [each for each in itertools.combinations(columns, size) if _independent(columns, each)]
        if sets:
            best = max(sets, key=lambda names: _r2(_design(columns, names), y))
            found.append(fit({name: columns[name] for name in best}, y, folds, seed))
    return found


def fit(columns: Mapping[str, np.ndarray], y: np.ndarray, folds: int = 5, seed: int = 0) -> Fit:
    """The fit on these columns; ValueError for fewer rows than columns + 2, and for columns that are sums of others.

    columns: (n,) each. y: (n,). folds: of the cross-validation, drawn by the seed; each row is in one.

    >>> fit({"x": np.array([0.0, 1.0, 2.0, 3.0])}, np.array([1.0, 3.0, 5.0, 7.0])).coefficients["x"].value
    2.0
    """
    from statsmodels.regression.linear_model import OLS
    from statsmodels.stats.outliers_influence import variance_inflation_factor

    names = list(columns)
    if len(y) < len(names) + 2 or not _independent(columns, names):
        raise ValueError(f"{len(y)} rows do not determine {len(names)} coefficients and a constant with their errors")
    design = _design(columns, names)
    # Columns on one scale: the squares of a column of lengths would otherwise drown those of a column of shares.
    scale = np.abs(design).max(axis=0)
    found = OLS(y, design / scale).fit()
    values, errors = found.params / scale, found.bse / scale
    estimates = [Estimate(*map(float, each)) for each in zip(values, errors, found.pvalues, strict=True)]
    inflation = [
        float(variance_inflation_factor(design / scale, at)) if len(names) > 1 else 1.0
        for at in range(1, len(names) + 1)
    ]
    return Fit(
        estimates[0],
        dict(zip(names, estimates[1:], strict=True)),
        dict(zip(names, inflation, strict=True)),
        len(y),
        float(found.rsquared),
        float(found.rsquared_adj),
        _cross_validated(design, y, min(folds, len(y)), seed),
    )


def _design(columns: Mapping[str, np.ndarray], names: Sequence[str]) -> np.ndarray:
    ones = np.ones(len(columns[names[0]]))
    return np.column_stack([ones, *(np.asarray(columns[name], np.float64) for name in names)])


def _independent(columns: Mapping[str, np.ndarray], names: Sequence[str]) -> bool:
    """Whether no column is constant, or a sum of others."""
    design = _design(columns, names)
    return np.linalg.matrix_rank(_standard(design)) == len(names)


def _standard(design: np.ndarray) -> np.ndarray:
    """The columns but the first, with mean 0 and length 1."""
    centered = design[:, 1:] - design[:, 1:].mean(axis=0)
    length = np.sqrt(np.square(centered).sum(axis=0))
    return centered / np.where(length > 0, length, 1)


def _r2(design: np.ndarray, y: np.ndarray) -> float:
    standard, centered = _standard(design), y - y.mean()
    left = centered - standard @ np.linalg.lstsq(standard, centered, rcond=None)[0]
    return 1 - float(np.square(left).sum()) / max(float(np.square(centered).sum()), np.finfo(float).tiny)


def _cross_validated(design: np.ndarray, y: np.ndarray, folds: int, seed: int) -> float:
    fold = np.random.default_rng(seed).permutation(len(y)) % folds
    predicted = np.empty(len(y))
    for out in range(folds):
        rest = fold != out
        predicted[~rest] = design[~rest] @ np.linalg.lstsq(design[rest], y[rest], rcond=None)[0]
    spread = float(np.square(y - y.mean()).sum())
    return 1 - float(np.square(y - predicted).sum()) / max(spread, np.finfo(float).tiny)
