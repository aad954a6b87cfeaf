"""Output to the terminal: plain lines and tables."""

import re
import sys
import textwrap
from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

CONSOLE = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Characters of records and names that a terminal would obey: they move, colour, retitle, copy or reorder."""


def say(line: str = "") -> None:
    """Prints one line as it is, but for control characters, which are shown by their escapes."""
    CONSOLE.print(_plain(line))


def _plain(text: str) -> str:
    return CONTROL.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


def beside(head: str, text: str) -> str:
    """A text beside its head. In a terminal it goes on under itself; elsewhere it is one line, however long."""
    if not CONSOLE.is_terminal:
        return f"{head}{text}"
    room = max(CONSOLE.width, 2 * len(head))
    lines = textwrap.wrap(text, room, initial_indent=head, subsequent_indent=" " * len(head), break_long_words=False)
    return "\n".join(lines)


def show(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Prints a table; the first column is left-aligned, the others right."""
    table = Table(title=title or None, title_justify="left", title_style="bold", header_style="bold")
    for position, column in enumerate(columns):
        table.add_column(column, justify="left" if position == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*(_plain(str(cell)) for cell in row))
    CONSOLE.print(table)


def show_texts(columns: Sequence[str], groups: Iterable[Iterable[Sequence[str]]]) -> None:
    """Prints a table of texts, in groups of rows.

    A terminal wraps all columns but the first one. Elsewhere each row is one line, however long.
    """
    table = Table(box=box.SIMPLE, header_style="bold", pad_edge=False)
    for position, column in enumerate(columns):
        table.add_column(column, overflow="fold", no_wrap=position == 0)
    for group in groups:
        table.add_section()
        for row in group:
            table.add_row(*map(_plain, row))
    if not CONSOLE.is_terminal:
        table.width = CONSOLE.measure(table, options=CONSOLE.options.update(width=sys.maxsize)).maximum
    CONSOLE.print(table)
