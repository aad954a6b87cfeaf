"""The page of a fitted rule: its coefficients with their intervals, and how well it predicts."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jobs.engine.report.figures import agreement, effects
from jobs.engine.report.rendering import write_page
from jobs.engine.store.folder import Folder
from operators.kernels.linear_fit import Estimate, Fit

NORMAL = 1.96
"""Standard errors on each side of an estimate that hold 95 % of a normal distribution."""


def write_rule_page(
    out: Folder,
    *,
    rule: Fit,
    fits: Sequence[Fit],
    means: Mapping[str, np.ndarray],
    losses: np.ndarray,
    doubts: Sequence[str],
    left_out: Sequence[str],
    summary: str,
    command: str,
) -> None:
    """Writes report.html into a folder. means: of each indicator, (sets,). losses: (sets,), in nats per token."""
    chosen = list(rule.coefficients)
    values = np.array([rule.coefficients[name].value for name in chosen])
    errors = NORMAL * np.array([rule.coefficients[name].error for name in chosen])
    indicators = np.array([means[name] for name in chosen])
    spread = indicators.std(axis=1)
    charts = [
        effects(chosen, spread * values, spread * errors),
        agreement(rule.constant.value + values @ indicators, np.log(losses)),
    ]
    page = {
        "title": f"A rule of {len(rule.coefficients)} indicators",
        "summary": summary,
        "doubts": [*doubts, *(f"{name} is the same in all sets, and is left out" for name in left_out)],
        "coefficients": [
            _row("constant", rule.constant, ""),
            *(_row(name, each, rule.inflation[name]) for name, each in rule.coefficients.items()),
        ],
        "fits": [
            (len(each.coefficients), ", ".join(each.coefficients), each.r2, each.adjusted, each.cross_validated)
            for each in fits
        ],
        "sets": [
            (number + 1, float(loss), *(float(values[number]) for values in means.values()))
            for number, loss in enumerate(losses)
        ],
        "indicators": list(means),
        "charts": charts,
        "command": command,
    }
    write_page(out, "report.html", "rule.html", page, charts)


def _row(name: str, found: Estimate, inflation: Any) -> tuple[Any, ...]:
    return name, found.value, found.error, f"{found.p:.2g}", inflation
