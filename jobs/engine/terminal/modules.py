"""Names and docstrings of commands and recipes. The files are read and not imported, as an import takes seconds."""

import ast
import difflib
import re
from collections.abc import Iterable
from pathlib import Path

from jobs.engine.terminal.errors import UsageError

JOBS = Path(__file__).parents[2]
CLASS = re.compile(r"^class (\w+)\(([^)]*)\):", re.MULTILINE)
"""The name of a class and its bases."""


def commands() -> dict[str, Path]:
    """Returns the file of each command by its name: the modules directly in jobs, and the packages that can be run."""
    files = {path.stem: path for path in JOBS.glob("[!_]*.py")}
    files |= {path.parent.name: path for path in JOBS.glob("*/__main__.py")}
    return dict(sorted(files.items()))


def recipe_names() -> list[str]:
    """Returns the names of all recipes, which are those of their modules."""
    return sorted(path.stem for path in (JOBS / "recipes").glob("[!_]*.py"))


def recipe_file(name: str) -> Path:
    """Returns the file of a recipe."""
    return JOBS / "recipes" / f"{name}.py"


def operator_names() -> list[str]:
    """Returns the names of the classes in operators/ and jobs/methods/ that derive from Operator."""
    bases = {}
    for folder in (JOBS.parent / "operators", JOBS / "methods"):
        for path in folder.rglob("*.py"):
            for name, derived in CLASS.findall(path.read_text(encoding="utf-8")):
                bases[name] = [each.split("[")[0].strip() for each in derived.split(",")]
    found, before = {"Operator"}, 0
    while len(found) > before:  # a base may be in a file that is read later
        before = len(found)
        found |= {name for name, derived in bases.items() if found.intersection(derived)}
    return sorted(found - {"Operator"})


def paper(recipe: str) -> str:
    """Returns the first paragraph of a recipe's docstring, which names its paper, on one line."""
    return " ".join(docstring(recipe_file(recipe)).split("\n\n")[0].split())


def docstring(file: Path) -> str:
    """Returns the docstring of a module; empty if it has none."""
    return ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""


def nearest(name: str, names: Iterable[str], alike: float = 0.5) -> str:
    """Returns a question to append to an unknown name, with the most similar known name; empty if none is similar."""
    known = {each.lower(): each for each in names}
    near = difflib.get_close_matches(str(name).lower(), list(known), n=1, cutoff=alike)
    return f"; did you mean {known[near[0]]!r}?" if near else ""


def refuse_unknown_recipe(name: str) -> None:
    """UsageError, with the nearest name, where there is no recipe of this name."""
    names = recipe_names()
    if name not in names:
        raise UsageError(f"no recipe {name!r}{nearest(name, names) or '.'} There are: {', '.join(names)}")
