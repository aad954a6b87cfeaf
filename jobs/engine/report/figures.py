"""The report's charts, as the plain data that plotly.js draws. The pool is grey, the kept samples are green."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jobs.engine.pool.selection import Selection
from jobs.engine.pool.series import Values
from jobs.engine.report.display import percent
from jobs.engine.report.measures import Measures

POOL, KEPT, INK, RULE = "#a9aba6", "#1d7a63", "#3d403c", "#e6e5df"
LENGTH_BINS, SCORE_BINS, POINTS = 34, 48, 2_000
BARS = 240
BLOCK = 1 << 20
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


def styled(x: str, y: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The layout that all charts have, with their axes named x and y, and with these changes to it."""
    axis = {"gridcolor": RULE, "linecolor": RULE, "zeroline": False, "fixedrange": True, "title": {"standoff": 8}}
    layout = {
        "height": 270,
        "margin": {"l": 52, "r": 8, "t": 40, "b": 44},
        "font": {"family": FONT, "size": 12, "color": INK},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "dragmode": False,
        "hovermode": "x unified",
        "legend": {"orientation": "h", "x": 0, "y": 1.1, "yanchor": "bottom", "font": {"size": 12}},
        "xaxis": {**axis, "showgrid": False, "title": {"text": x, "standoff": 8}},
        "yaxis": {**axis, "title": {"text": y, "standoff": 8}, "rangemode": "tozero"},
    }
    for name, values in changes.items():
        layout[name] = {**layout[name], **values} if isinstance(values, dict) and name in layout else values
    return layout


def outline(name: str, color: str, edges: np.ndarray, counts: np.ndarray) -> dict[str, Any]:
    """A filled step line: the share of the values in each bin, in per cent. counts: of the bins between the edges."""
    shares = 100 * counts / max(counts.sum(), 1)
    filled = color + ("55" if color == POOL else "33")
    return {
        "type": "scatter", "mode": "lines", "name": name, "x": _numbers(edges), "y": _numbers([*shares, shares[-1]]),
        "line": {"shape": "hv", "color": color, "width": 1.6}, "fill": "tozeroy", "fillcolor": filled,
        "hovertemplate": "%{y:.1f}%",
    }  # fmt: skip


def counts_between(values: Iterable[np.ndarray], edges: np.ndarray) -> np.ndarray:
    """The number of values between each two edges. The values come in blocks: there may be 10⁹ of them."""
    return sum((np.histogram(each, edges)[0] for each in values), np.zeros(len(edges) - 1, np.int64))


def _numbers(values: Any) -> list[float]:
    return [float(f"{value:.6g}") for value in values]


def lengths(name: str, characters: np.ndarray, measured: Measures) -> Figure:
    """The lengths of all instructions or of all responses, on a logarithmic axis; name: what they are lengths of."""
    of_pool, of_kept = characters[measured.of_pool], characters[measured.of_kept]
    # The edges are whole numbers: otherwise a bin of short texts might have no length between its edges.
    edges = np.unique(np.round(np.geomspace(1, max(characters.max(initial=1) + 1, 2), LENGTH_BINS)))
    data = [outline("pool", POOL, edges, np.histogram(np.maximum(of_pool, 1), edges)[0])]
    medians = f"Median {np.median(of_pool):,.0f} characters in the pool"
    if len(of_kept):
        data.append(outline("kept", KEPT, edges, np.histogram(np.maximum(of_kept, 1), edges)[0]))
        medians += f", {np.median(of_kept):,.0f} among the kept"
    axis = {"type": "log", "dtick": 1, "exponentformat": "none", "separatethousands": True, "hoverformat": ",.0f"}
    return Figure(f"{name}-length", f"Length of the {name}", f"{medians}.", data,
                  styled("characters", "% of samples", {"xaxis": axis}))  # fmt: skip


def by_rank(name: str, title: str, column: Values, kept: np.ndarray) -> Figure | None:
    """The values of the kept samples, from the best to the last; None where fewer than two have a value.

    column: a value per sample. kept: ids, best first.
    """
    known = sum(len(block) for block in finite(column, kept))
    if known < 2:
        return None
    wanted = np.unique(np.linspace(0, known - 1, POINTS).round().astype(int))
    rank = np.concatenate([*_ranks(column, kept, wanted)])
    values = column[kept[rank]]
    line = {
        "type": "scatter", "mode": "lines", "name": title, "x": (rank + 1).tolist(), "y": _numbers(values),
        "line": {"color": KEPT, "width": 2}, "hovertemplate": "%{y:.4g}",
    }  # fmt: skip
    caption = f"From {values[0]:,.4g} at rank {rank[0] + 1:,} to {values[-1]:,.4g} at rank {rank[-1] + 1:,}."
    changes = {"yaxis": {"rangemode": "normal"}, "showlegend": False, "margin": {"t": 14}}
    layout = styled("rank", title.lower().removesuffix(" by rank"), changes)
    return Figure(name, title, caption, [line], layout)


def coverage(chosen: Selection) -> Figure | None:
    """The share of the samples that was kept, per centroid; None where no kept sample has a centroid."""
    centroid = chosen.details.get("centroid", np.empty(0))
    chose = _of_each(centroid, chosen.ids) if len(centroid) else Counter()
    if not chose:
        return None
    size = _of_each(centroid)
    names = np.array(sorted(size, key=lambda each: (-size[each], each)))
    kept, size = (np.array([counted[each] for each in names.tolist()]) for counted in (chose, size))
    caption = f"{int((kept > 0).sum()):,} of {len(names):,} centroids have at least one kept sample"
    empty = int(size[kept == 0].sum())
    caption += f"; {empty:,} samples ({percent(empty / size.sum())}) belong to the others." if empty else "."
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
    changes = {
        "shapes": [line],
        "margin": {"t": 14},
        "hovermode": "closest",
        "bargap": 0.25,
        "xaxis": {"showticklabels": False},
    }
    layout = styled("centroids, the largest first", "% kept", changes)
    caption += " Dotted line: the share kept of all samples."
    return Figure("coverage", "Share of samples kept per centroid", caption, [bars], layout)


def _many_centroids(share: np.ndarray, caption: str) -> Figure:
    edges = np.histogram_bin_edges(100 * share, SCORE_BINS)
    data = [outline("centroids", KEPT, edges, np.histogram(100 * share, edges)[0])]
    layout = styled("% of a centroid's samples kept", "% of centroids", {"showlegend": False})
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
    return Figure("effects", "Coefficients", caption, [trace], styled("change of the log of the loss", "", changes))


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
    layout = styled("predicted", "measured", changes)
    return Figure("agreement", "Predicted and measured", caption, [line, points], layout)


def _blocks(column: Values, ids: np.ndarray | None = None) -> Iterator[np.ndarray]:
    """The values of a column, or those of some ids in their order, a block at a time."""
    for first in range(0, len(column if ids is None else ids), BLOCK):
        block = slice(first, first + BLOCK)
        yield column[block] if ids is None else column[ids[block]]


def finite(column: Values, ids: np.ndarray | None = None) -> Iterator[np.ndarray]:
    """The finite values of a column, or of some ids, a block at a time; blocks without any are left out."""
    for block in _blocks(column, ids):
        known = block[np.isfinite(block)]
        if len(known):
            yield known


def _ranks(column: Values, kept: np.ndarray, wanted: np.ndarray) -> Iterator[np.ndarray]:
    """The positions in `kept` of finite values with these numbers, which count from 0 and ascend."""
    before = 0
    for number, block in enumerate(_blocks(column, kept)):
        places = np.flatnonzero(np.isfinite(block))
        here = wanted[np.searchsorted(wanted, before) : np.searchsorted(wanted, before + len(places))]
        yield number * BLOCK + places[here - before]
        before += len(places)


def _of_each(centroid: Values, ids: np.ndarray | None = None) -> Counter[int]:
    """The number of samples of each centroid, of all samples or of those with these ids."""
    counted: Counter[int] = Counter()
    for block in finite(centroid, ids):
        names, of = np.unique(block[block >= 0].astype(np.int64), return_counts=True)
        counted.update(dict(zip(names.tolist(), of.tolist(), strict=True)))
    return counted
