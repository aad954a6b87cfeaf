"""The distributions of scores and details, with the cuts drawn in."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jobs.engine.pool.selection import Selection
from jobs.engine.pool.series import Values
from jobs.engine.report.figures import INK, KEPT, POOL, Figure, counts_between, finite, outline, styled

SCORE_BINS = 48
THRESHOLDS = ("above", "below", "at least")
"""How a run names a decision about a column: "variance above"."""


def scores(chosen: Selection) -> Figure | None:
    """The distribution of the scores, with lines where those of the kept samples end; None where there is no score.

    There is no line where the scores of all samples end as well.
    """
    limits, ends = _limits(chosen.score), _limits(chosen.score, chosen.ids)
    if limits is None:
        return None
    cuts = [cut for cut, end in zip(ends, limits, strict=True) if cut != end] if ends else []
    words = ""
    if ends and cuts:
        inside = sum(int(((block >= ends[0]) & (block <= ends[1])).sum()) for block in finite(chosen.score))
        between = inside - sum(len(block) for block in finite(chosen.score, chosen.ids))
        others = f"{between:,}" if between else "no"
        words = f" The kept ones go from {ends[0]:,.4g} to {ends[1]:,.4g}, and {others} others lie between."
    return _distribution("scores", "Distribution of the scores", "score, higher is better", chosen.score, chosen.ids,
                         limits, cuts, words)  # fmt: skip


def details(name: str, detail: str, chosen: Selection) -> Figure | None:
    """The distribution of a detail, with a line at each threshold that the run recorded for it; None without values."""
    column = chosen.details[detail]
    limits = _limits(column)
    if limits is None:
        return None
    said = (f"{detail} {how}" for how in THRESHOLDS)
    cuts = {each: float(chosen.facts[each]) for each in said if each in chosen.facts}
    words = "".join(f" Only samples with {each} {cut:,.4g} went on." for each, cut in cuts.items())
    return _distribution(name, f"Distribution of {detail}", detail, column, chosen.ids, limits, [*cuts.values()], words)


def _distribution(
    name: str, title: str, axis: str, column: Values, kept: np.ndarray, limits: tuple[float, float],
    cuts: Sequence[float], words: str,
) -> Figure:  # fmt: skip
    """The distribution of the values of all samples and of the kept ones, with lines at the cuts."""
    edges = np.histogram_bin_edges(np.array(limits, np.float64), SCORE_BINS)
    everything = counts_between(finite(column), edges)
    of_kept = counts_between(finite(column, kept), edges)
    known = everything.sum()
    only_kept = of_kept.sum() == known
    data = [] if only_kept else [outline("all", POOL, edges, everything)]
    data += [outline("kept", KEPT, edges, of_kept)] if of_kept.any() else []
    without = len(column) - known
    caption = f"{known:,} of {len(column):,} samples have {'a score' if name == 'scores' else 'a value'}"
    if not without:
        caption += "."
    elif only_kept:
        caption += ", and all of these are kept."
    else:
        caption += f"; {without:,} do not."
    changes = {"shapes": [_cut(cut) for cut in cuts], "annotations": [_label(cut) for cut in cuts]}
    return Figure(name, title, caption + words, data, styled(axis, "% of samples", changes))


def _limits(column: Values, ids: np.ndarray | None = None) -> tuple[float, float] | None:
    """The lowest and the highest finite value, of all samples or of these; None where there is none."""
    ends = [(float(block.min()), float(block.max())) for block in finite(column, ids)]
    return (min(low for low, _ in ends), max(high for _, high in ends)) if ends else None


def _cut(at: float) -> dict[str, Any]:
    """A line at a value of the x axis."""
    line = {"color": INK, "width": 1.4, "dash": "dash"}
    return {"type": "line", "yref": "paper", "x0": at, "x1": at, "y0": 0, "y1": 1.02, "line": line}


def _label(at: float) -> dict[str, Any]:
    """The value above the line of a cut."""
    return {"x": at, "y": 1.02, "yref": "paper", "yanchor": "bottom", "showarrow": False, "text": f"{at:,.4g}",
            "font": {"size": 11}}  # fmt: skip
