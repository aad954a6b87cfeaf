"""The map of the pool, as the plain data that plotly.js draws."""

import numpy as np

from jobs.engine.report.figures import KEPT, POOL, Figure, styled

FAINT = "#e9e9e4"


def scattered(points: np.ndarray, kept: np.ndarray, caption: str) -> Figure:
    """The map of the pool. points: (n, 2); kept: (n,) bool. The points carry their numbers, 0 to n - 1.

    The first trace is for the points that a reader filters out.
    """
    looks = (("filtered out", FAINT, 3), ("not kept", POOL, 5), ("kept", KEPT, 7))
    some = (np.empty(0, np.int64), np.flatnonzero(~kept), np.flatnonzero(kept))
    data = [
        {
            "type": "scatter", "mode": "markers", "name": name, "x": _places(points[those, 0]),
            "y": _places(points[those, 1]), "customdata": those.tolist(), "hoverinfo": "none" if these else "skip",
            "showlegend": bool(these),
            "marker": {"color": color, "size": size, "opacity": 0.85 if name == "kept" else 0.6,
                       "symbol": "diamond" if name == "kept" else "circle",
                       "line": {"width": 0.6 if name == "kept" else 0, "color": "#fff"}},
        }
        for these, ((name, color, size), those) in enumerate(zip(looks, some, strict=True))
    ]  # fmt: skip
    hidden = {"visible": False, "showgrid": False, "fixedrange": False, "range": [-1.08, 1.08]}
    changes = {
        "xaxis": {**hidden, "constrain": "domain"},
        "yaxis": {**hidden, "scaleanchor": "x", "constrain": "domain", "rangemode": "normal"},
        "hovermode": "closest", "margin": {"l": 4, "r": 4, "t": 26, "b": 4}, "dragmode": "zoom",
    }  # fmt: skip
    layout = styled("", "", changes)
    del layout["height"]  # the style of the page sets it
    return Figure("map", "Map of the pool", caption, data, layout)


def _places(values: np.ndarray) -> list[float]:
    return [round(each, 4) for each in values.tolist()]
