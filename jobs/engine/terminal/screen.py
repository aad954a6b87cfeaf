"""What people see in the terminal: plain lines and small tables."""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

CONSOLE = Console(highlight=False, soft_wrap=True, markup=False)


def say(line: str = "") -> None:
    """Prints one line as it is."""
    CONSOLE.print(line)


def show(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Prints a table; the first column is left-aligned, the others right."""
    table = Table(title=title or None, title_justify="left", title_style="bold", header_style="bold")
    for position, column in enumerate(columns):
        table.add_column(column, justify="left" if position == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    CONSOLE.print(table)
