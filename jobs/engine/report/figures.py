"""The report's charts, as the plain data that plotly.js draws. The pool is grey, the kept samples are green."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jobs.engine.pool.selection import Selection
from jobs.engine.report.display import percent
from jobs.engine.report.measures import Measures

POOL, KEPT, INK, RULE = "#a9aba6", "#1d7a63", "#3d403c", "#e6e5df"
LENGTH_BINS, SCORE_BINS, POINTS = 34, 48, 2_000
BARS = 240
FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'


@dataclass(frozen=True)
class Figure:
    """A chart of the page."""

    name: str
    title: str
    caption: str
    """What the chart shows, in a sentence."""
    data: list[dict[str, Any]]
    """The traces, for plotly.js."""
    layout: dict[str, Any]
    """The axes and the rest of the layout, for plotly.js."""


def _layout(x: str, y: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The layout that all charts have, with their axes named x and y, and with these changes to it."""
    axis = {"gridcolor": RULE, "linecolor": RULE, "zeroline": False, "fixedrange": True, "title": {"standoff": 8}}
    layout = {
        "height": 270,
        "margin": {"l": 52, "r": 8, "t": 26, "b": 44},
        "font": {"family": FONT, "size": 12, "color": INK},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "dragmode": False,
        "hovermode": "x unified",
        "legend": {"orientation": "h", "x": 0, "y": 1.14, "font": {"size": 12}},
        "xaxis": {**axis, "showgrid": False, "title": {"text": x, "standoff": 8}},
        "yaxis": {**axis, "title": {"text": y, "standoff": 8}, "rangemode": "tozero"},
    }
    for name, values in changes.items():
        layout[name] = {**layout[name], **values} if isinstance(values, dict) and name in layout else values
    return layout


def _outline(name: str, color: str, edges: np.ndarray, values: np.ndarray) -> dict[str, Any]:
    """A filled step line with the share of the values per bin."""
    counts = np.histogram(values, edges)[0]
    shares = 100 * counts / max(counts.sum(), 1)
    filled = color + ("55" if color == POOL else "33")
    return {
        "type": "scatter", "mode": "lines", "name": name, "x": _numbers(edges), "y": _numbers([*shares, shares[-1]]),
        "line": {"shape": "hv", "color": color, "width": 1.6}, "fill": "tozeroy", "fillcolor": filled,
        "hovertemplate": "%{y:.1f}%",
    }  # fmt: skip


def _numbers(values: Any) -> list[float]:
    return [float(f"{value:.6g}") for value in values]


def lengths(name: str, characters: np.ndarray, measured: Measures) -> Figure:
    """The lengths of all instructions or of all responses, on a logarithmic axis; name: what they are lengths of."""
    of_pool, of_kept = characters[measured.of_pool], characters[measured.of_kept]
    # The edges are whole numbers: otherwise a bin of short texts might have no length between its edges.
    edges = np.unique(np.round(np.geomspace(1, max(characters.max(initial=1) + 1, 2), LENGTH_BINS)))
    data = [_outline("pool", POOL, edges, np.maximum(of_pool, 1))]
    medians = f"Median {np.median(of_pool):,.0f} characters in the pool"
    if len(of_kept):
        data.append(_outline("kept", KEPT, edges, np.maximum(of_kept, 1)))
        medians += f", {np.median(of_kept):,.0f} among the kept"
    axis = {"type": "log", "dtick": 1, "exponentformat": "none", "separatethousands": True, "hoverformat": ",.0f"}
    return Figure(f"{name}-length", f"Length of the {name}", f"{medians}.", data,
                  _layout("characters", "% of samples", {"xaxis": axis}))  # fmt: skip


def scores(chosen: Selection) -> Figure | None:
    """The distribution of the scores of all samples and of the kept ones; None where no sample has a score."""
    scored = np.isfinite(chosen.score)
    if not scored.any():
        return None
    everything = chosen.score[scored]
    kept = chosen.score[chosen.ids]
    kept = kept[np.isfinite(kept)]
    edges = np.histogram_bin_edges(everything, SCORE_BINS)
    only_kept = len(kept) == len(everything)
    data = [] if only_kept else [_outline("scored", POOL, edges, everything)]
    data += [_outline("kept", KEPT, edges, kept)] if len(kept) else []
    without = len(chosen.score) - len(everything)
    caption = f"{len(everything):,} of {len(chosen.score):,} samples have a score"
    if not without:
        caption += "."
    elif only_kept:
        caption += ", and all of these are kept."
    else:
        caption += f"; {without:,} were not scored."
    layout = _layout("score, higher is better", "% of samples", {})
    return Figure("scores", "Distribution of the scores", caption, data, layout)


def by_rank(name: str, title: str, values: np.ndarray) -> Figure | None:
    """The values of the kept samples, from the best to the last; None where fewer than two have a value."""
    rank = np.flatnonzero(np.isfinite(values))
    if len(rank) < 2:
        return None
    rank = rank[np.unique(np.linspace(0, len(rank) - 1, POINTS).round().astype(int))]
    line = {
        "type": "scatter", "mode": "lines", "name": title, "x": (rank + 1).tolist(), "y": _numbers(values[rank]),
        "line": {"color": KEPT, "width": 2}, "hovertemplate": "%{y:.4g}",
    }  # fmt: skip
    caption = (
        f"From {values[rank[0]]:,.4g} at rank {rank[0] + 1:,} to {values[rank[-1]]:,.4g} at rank {rank[-1] + 1:,}."
    )
    changes = {"yaxis": {"rangemode": "normal"}, "showlegend": False}
    layout = _layout("rank", title.lower().removesuffix(" by rank"), changes)
    return Figure(name, title, caption, [line], layout)


def coverage(chosen: Selection) -> Figure | None:
    """The share of the samples that was kept, per centroid; None where the recipe has no centroids."""
    centroid = np.asarray(chosen.details.get("centroid", np.empty(0)), float)
    inside = np.isfinite(centroid) & (centroid >= 0)
    if not inside.any():
        return None
    names, of = np.unique(centroid[inside].astype(np.int64), return_inverse=True)
    chose = np.zeros(len(centroid), bool)
    chose[chosen.ids] = True
    size, kept = np.bincount(of), np.bincount(of, weights=chose[inside])
    order = np.argsort(-size, kind="stable")
    names, size, kept = names[order], size[order], kept[order]
    caption = f"{int((kept > 0).sum()):,} of {len(names):,} centroids have at least one kept sample"
    empty = int(size[kept == 0].sum())
    caption += f"; {empty:,} samples ({percent(empty / inside.sum())}) belong to the others." if empty else "."
    if len(names) > BARS:
        return _many_centroids(kept / size, caption)
    overall = 100 * kept.sum() / size.sum()
    bars = {
        "type": "bar", "x": list(range(1, len(names) + 1)), "y": _numbers(100 * kept / size), "marker": {"color": KEPT},
        "customdata": np.column_stack([names, kept, size]).astype(int).tolist(), "name": "kept",
        "hovertemplate": "centroid %{customdata[0]}: %{customdata[1]:,} of %{customdata[2]:,} kept<extra></extra>",
    }  # fmt: skip
    line = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": overall, "y1": overall,
            "line": {"color": INK, "width": 1, "dash": "dot"}}  # fmt: skip
    changes = {"shapes": [line], "hovermode": "closest", "bargap": 0.25, "xaxis": {"showticklabels": False}}
    layout = _layout("centroids, the largest first", "% kept", changes)
    caption += " Dotted line: the share kept of all samples."
    return Figure("coverage", "Share of samples kept per centroid", caption, [bars], layout)


def _many_centroids(share: np.ndarray, caption: str) -> Figure:
    edges = np.histogram_bin_edges(100 * share, SCORE_BINS)
    data = [_outline("centroids", KEPT, edges, 100 * share)]
    layout = _layout("% of a centroid's samples kept", "% of centroids", {"showlegend": False})
    return Figure("coverage", "Share of samples kept per centroid", caption, data, layout)


def effects(names: Sequence[str], values: np.ndarray, errors: np.ndarray) -> Figure:
    """What each indicator of a rule changes, with its interval; errors: half of the intervals' lengths."""
    trace = {
        "type": "scatter", "mode": "markers", "x": _numbers(values), "y": list(names),
        "marker": {"color": KEPT, "size": 9}, "hovertemplate": "%{y}: %{x:.4g}<extra></extra>",
        "error_x": {"type": "data", "array": _numbers(errors), "color": KEPT, "thickness": 1.6},
    }  # fmt: skip
    line = {"type": "line", "yref": "paper", "x0": 0, "x1": 0, "y0": 0, "y1": 1, "line": {"color": INK, "width": 1}}
    axis = {"autorange": "reversed", "rangemode": "normal", "automargin": True}
    changes = {"shapes": [line], "showlegend": False, "hovermode": "closest", "yaxis": axis}
    caption = "What one standard deviation of an indicator's means changes, with 95 % intervals. Left of 0 is better."
    return Figure("effects", "Coefficients", caption, [trace], _layout("change of the log of the loss", "", changes))


def agreement(predicted: np.ndarray, measured: np.ndarray) -> Figure:
    """A point for each set of samples: the predicted and the measured log of its loss."""
    ends = [float(end(each)) for end, each in ((min, predicted), (min, measured), (max, predicted), (max, measured))]
    low, high = min(ends[:2]), max(ends[2:])
    line = {"type": "scatter", "mode": "lines", "x": [low, high], "y": [low, high], "line": {"color": POOL},
            "hoverinfo": "skip"}  # fmt: skip
    points = {
        "type": "scatter", "mode": "markers", "x": _numbers(predicted), "y": _numbers(measured),
        "marker": {"color": KEPT, "size": 7}, "hovertemplate": "predicted %{x:.4g}, measured %{y:.4g}<extra></extra>",
    }  # fmt: skip
    changes = {"showlegend": False, "hovermode": "closest", "yaxis": {"rangemode": "normal"}}
    caption = "The log of the held-out loss of each set. On the line, prediction and measurement agree."
    layout = _layout("predicted", "measured", changes)
    return Figure("agreement", "Predicted and measured", caption, [line, points], layout)
