"""The page of a comparison: its table, the overlaps, and the held-out losses."""

from collections.abc import Mapping, Sequence
from typing import Any

from jobs.engine.report.figures import INK, KEPT, POOL, Figure
from jobs.engine.report.rendering import write_page
from jobs.engine.store.folder import Folder

LABEL_ROWS = 3
"""The height of the names below the overlaps, in rows."""


def write_comparison_page(
    out: Folder,
    *,
    summary: str,
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    meanings: Sequence[tuple[str, str]],
    overlaps: Mapping[str, Mapping[str, float]],
    losses: Mapping[str, tuple[float, float, float]],
    notes: Sequence[str],
    command: str,
) -> None:
    """Writes report.html into a folder.

    headings, rows: the table, with the name of the selection first. meanings: of each column. overlaps: of each two
    selections. losses: of each selection the held-out loss and its bounds; empty for none.
    """
    charts = [_overlaps(overlaps)] if len(overlaps) > 1 else []
    charts += [_losses(losses)] if losses else []
    page = {
        "title": f"{len(rows)} selections compared",
        "summary": summary,
        "headings": headings,
        "rows": rows,
        "meanings": meanings,
        "notes": notes,
        "charts": charts,
        "command": command,
    }
    write_page(out, "report.html", "comparison.html", page, charts)


def _layout(rows: int, x: str) -> dict[str, Any]:
    axis = {"automargin": True, "fixedrange": True, "zeroline": False}
    return {
        "height": 140 + 22 * rows,
        "margin": {"l": 8, "r": 8, "t": 26, "b": 44},
        "font": {"size": 12, "color": INK},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "dragmode": False,
        "xaxis": {**axis, "title": {"text": x}},
        "yaxis": {**axis, "autorange": "reversed"},
    }


def _overlaps(overlaps: Mapping[str, Mapping[str, float]]) -> Figure:
    names = list(overlaps)
    table = [[overlaps[one][other] if one != other else None for other in names] for one in names]
    heat = {
        "type": "heatmap", "x": names, "y": names, "z": table, "zmin": 0, "colorscale": [[0, "#f6f5f1"], [1, KEPT]],
        "hovertemplate": "%{y}, %{x}: %{z:.2f}<extra></extra>",
        "colorbar": {"thickness": 10, "orientation": "h", "y": 1, "yanchor": "bottom"},
    }  # fmt: skip
    caption = "The samples that both selections keep, as a share of those that either keeps."
    layout = _layout(len(names) + LABEL_ROWS, "")
    for axis in ("xaxis", "yaxis"):  # plotly leaves labels out where it finds them too near to one another
        layout[axis] |= {"tickmode": "linear", "dtick": 1, "tickfont": {"size": 10}}
    layout["xaxis"]["tickangle"] = 90
    return Figure("overlaps", "Overlap", caption, [heat], layout)


def _losses(losses: Mapping[str, tuple[float, float, float]]) -> Figure:
    ordered = sorted(losses.items(), key=lambda each: each[1][0])
    points = {
        "type": "scatter", "mode": "markers", "y": [name for name, _ in ordered], "x": [each[0] for _, each in ordered],
        "marker": {"color": KEPT, "size": 9},
        "error_x": {
            "type": "data", "symmetric": False, "color": POOL,
            "array": [high - value for _, (value, _, high) in ordered],
            "arrayminus": [value - low for _, (value, low, _) in ordered],
        },
        "hovertemplate": "%{y}: %{x:.4f}<extra></extra>",
    }  # fmt: skip
    caption = "The mean over the seeds, with the 95 % interval of the bootstrap over held-out samples; lower is better."
    return Figure("losses", "Held-out loss", caption, [points], _layout(len(ordered), "nats per token"))
