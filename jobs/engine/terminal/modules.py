"""Commands and recipes as their files are: names and docstrings, read and not imported, as an import takes seconds."""

import ast
import difflib
from collections.abc import Iterable
from pathlib import Path

JOBS = Path(__file__).parents[2]


def commands() -> dict[str, Path]:
    """The file of each command, by name: the modules directly in jobs, and its packages that can be run."""
    files = {path.stem: path for path in JOBS.glob("[!_]*.py")}
    files |= {path.parent.name: path for path in JOBS.glob("*/__main__.py")}
    return dict(sorted(files.items()))


def recipe_names() -> list[str]:
    """The recipes there are, by module name."""
    return sorted(path.stem for path in (JOBS / "recipes").glob("[!_]*.py"))


def recipe_file(name: str) -> Path:
    """The file of a recipe."""
    return JOBS / "recipes" / f"{name}.py"


def paper(recipe: str) -> str:
    """The first paragraph of a recipe's docstring, which names its paper, on one line."""
    return " ".join(docstring(recipe_file(recipe)).split("\n\n")[0].split())


def docstring(file: Path) -> str:
    """What a module says of itself; empty where it says nothing."""
    return ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""


def nearest(name: str, names: Iterable[str]) -> str:
    """A question to put behind an unknown name, with the known name that is most like it; empty where none is."""
    near = difflib.get_close_matches(str(name), list(names), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""
