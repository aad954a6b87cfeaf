"""The rows of a comparison, as a table in Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

Row = Mapping[str, Any]


class Column(NamedTuple):
    """A column of the table."""

    key: str
    heading: str
    form: str
    """How a number is written, as in `format`."""
    meaning: str


COLUMNS = (
    Column("kept", "kept", ",d", "samples"),
    Column("radius", "radius", ".3f", "largest distance of a sample of the pool to the nearest kept one"),
    Column("mean_distance", "mean distance", ".3f", "mean distance of a sample of the pool to the nearest kept one"),
    Column("topics", "topics", ".0%", "share of the pool's topics with a kept sample"),
    Column("sources", "sources", ".0%", "share of the pool's sources with a kept sample"),
    Column("near_duplicates", "near-duplicates", ",d", "kept samples with a near-duplicate among the kept ones"),
    Column("length", "length", ".2f", "mean characters of a kept response, over that of the pool"),
    Column("script_shift", "script shift", ".3f", "total variation distance of the scripts of kept samples and pool"),
    Column("source_shift", "source shift", ".3f", "total variation distance of the sources of kept samples and pool"),
    Column("length_correlation", "score ~ length", "+.2f", "rank correlation of score and response length"),
    Column(
        "seconds",
        "seconds",
        ",.0f",
        "of the recipe alone. ≈: features from before count by their pace; ≥: some are left out",
    ),
    Column("passes", "passes", ",d", "samples that a model read, once per model and epoch"),
    Column("tokens", "tokens read", ",.0f", "passes times the mean tokens of a sample of the pool"),
)
LOSSES = (
    Column("loss", "held-out loss", ".4f", "nats per token, the mean over seeds, with its 95 % interval"),
    Column("gap", "minus random", "+.4f", "its difference to random selections, with its 95 % interval"),
    Column("against_random", "against random", "", "whether the difference lies on one side of 0 for every seed"),
)

SIGNS = {"estimated": "≈ ", "at least": "≥ "}
"""How seconds are marked that were not all measured, by `Cost.known`."""


def cells(row: Row, columns: Sequence[Column]) -> list[str]:
    """The cells of a row; an empty one for a value that it does not have."""
    return [_cell(row, each) for each in columns]


def _cell(row: Row, column: Column) -> str:
    value = row.get(column.key)
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    shown = format(value, column.form)
    if f"{column.key}_low" in row:
        shown += f" [{row[f'{column.key}_low']:{column.form}}, {row[f'{column.key}_high']:{column.form}}]"
    return SIGNS.get(row.get("seconds_known", ""), "") + shown if column.key == "seconds" else shown


def shown_columns(rows: Sequence[Row]) -> list[Column]:
    """The columns of which some row has a value."""
    return [each for each in (*COLUMNS, *LOSSES) if any(row.get(each.key) is not None for row in rows)]


def markdown(rows: Sequence[Row], overlaps: Mapping[str, Mapping[str, float]], notes: Sequence[str]) -> str:
    """The table of all rows, the table of overlaps, and what the columns mean.

    rows: each has `name`; one that failed or was left out has `why`. overlaps: of each two selections.
    """
    done = [row for row in rows if "why" not in row]
    columns = shown_columns(done)
    lines = [
        *_table(["method", *(each.heading for each in columns)], [[row["name"], *cells(row, columns)] for row in done])
    ]
    lines += ["", "Overlap of every two selections (Jaccard):", ""]
    names = list(overlaps)
    lines += _table(["", *names], [[one, *(f"{overlaps[one][other]:.2f}" for other in names)] for one in names])
    lines += ["", *(f"- {each.heading}: {each.meaning}" for each in columns)]
    lines += [f"- {row['name']}: not compared: {row['why']}" for row in rows if "why" in row]
    lines += [f"- {note}" for note in notes]
    return "\n".join(lines) + "\n"


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    ruled = ["---", *("---:" for _ in headings[1:])]
    return [f"| {' | '.join(_safe(cell) for cell in line)} |" for line in (headings, ruled, *rows)]


def _safe(cell: str) -> str:
    return cell.replace("|", "\\|").replace("\n", " ")
