"""The faults that tests inject, and the table of them in docs/reliability.md.

pytest -m fault --reliability=docs/reliability.md     # or: make reliability

A test says with the marker `fault` which fault of tests/faults.yaml it injects, how, and what holds all the same. The
table has a row for each such test, with the seconds that it took. A test that did not run this time keeps its seconds.
"""

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml

TESTS = Path(__file__).resolve().parent
PAGE = TESTS.parent / "docs/reliability.md"
NOT_HERE = "Not here"
UNTIMED = "–"
OPENING = """# Reliability

What goes wrong on purpose in the tests, and what holds all the same. The tests write this page: `make reliability` runs
all of them and notes the seconds of each, and `pytest --reliability=docs/reliability.md FILE` those of a file. A test
fails where the page and the tests say different things. The seconds are of a machine with 2 cores.
"""


@dataclass(frozen=True)
class Row:
    """One test that injects a fault."""

    fault: str
    how: str
    holds: str
    test: str
    """The test, as pytest names it, without its parameters."""
    seconds: str = UNTIMED

    def line(self) -> str:
        """The row in Markdown."""
        path, _, name = self.test.partition("::")
        cells = (self.fault, self.how, self.holds, f"[{name}](../{path})", self.seconds)
        return f"| {' | '.join(cells)} |"

    @classmethod
    def of(cls, line: str) -> "Row":
        """The row that a line of Markdown has."""
        *cells, test, seconds = (cell.strip() for cell in line.strip("|").split("|"))
        name, _, path = test.removeprefix("[").removesuffix(")").partition("](../")
        return cls(*cells, f"{path}::{name}", seconds)


def faults() -> dict[str, list[str]]:
    """The faults by section, in their order."""
    sections = yaml.safe_load((TESTS / "faults.yaml").read_text())
    return {section: found for section, found in sections.items() if section != NOT_HERE}


def reasons() -> dict[str, str]:
    """Why a fault, or a part of one, is not injected here."""
    return yaml.safe_load((TESTS / "faults.yaml").read_text())[NOT_HERE]


def marked() -> list[Row]:
    """A row for each test with the marker, read from the files of the tests; nothing is imported."""
    found = [row for file in TESTS.rglob("test_*.py") for row in _marked(file)]
    return sorted(found, key=lambda row: row.test)


def _marked(file: Path) -> Iterator[Row]:
    text = file.read_text()
    if "mark.fault(" not in text:
        return
    for function in ast.walk(ast.parse(text)):
        if isinstance(function, ast.FunctionDef):
            for mark in function.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.fault":
                    words = {keyword.arg: ast.literal_eval(keyword.value) for keyword in mark.keywords}
                    (name,) = map(ast.literal_eval, mark.args)
                    test = f"{file.relative_to(TESTS.parent).as_posix()}::{function.name}"
                    yield Row(name, **words, test=test)


def written(page: Path = PAGE) -> list[Row]:
    """The rows of the page; none where there is no page."""
    lines = page.read_text().splitlines() if page.exists() else []
    return [Row.of(line) for line in lines if "](../tests/" in line]


def text(rows: list[Row]) -> str:
    """The page with these rows."""
    parts = [OPENING]
    for section, names in faults().items():
        parts += [f"\n## {section}\n", "| fault | injected by | what holds | test | seconds |", "|---|---|---|---|---|"]
        parts += [row.line() for name in names for row in rows if row.fault == name]
    parts += ["\n## What is not injected here\n", "| fault | why |", "|---|---|"]
    parts += [f"| {name} | {why} |" for name, why in reasons().items()]
    return "\n".join(parts) + "\n"


class Times:
    """Adds up what the tests take, and writes the page at the end."""

    def __init__(self, page: Path):
        self.page = page
        self.seconds: dict[str, float] = defaultdict(float)
        self.others: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Counts the test itself; what the tests of a file share is not counted."""
        test = report.nodeid.partition("[")[0]
        if report.outcome != "passed":
            self.others[test] = report.outcome
        elif report.when == "call":
            self.seconds[test] += report.duration

    def pytest_sessionfinish(self) -> None:
        """Writes the page."""
        before = {row.test: row.seconds for row in written(self.page)}
        self.page.write_text(text([self._timed(row, before) for row in marked()]))

    def _timed(self, row: Row, before: Mapping[str, str]) -> Row:
        earlier = before.get(row.test, UNTIMED)
        ran = f"{self.seconds[row.test]:.1f}" if row.test in self.seconds else earlier
        return replace(row, seconds=self.others.get(row.test, ran))


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option that asks for the page."""
    parser.addoption("--reliability", type=Path, metavar="PAGE", help="write the table of the faults to this file")


def pytest_configure(config: pytest.Config) -> None:
    """Measures in the process that hears of all tests."""
    page = config.getoption("--reliability")
    if page and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Times(page.resolve()), "reliability")
