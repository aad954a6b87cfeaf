"""The program `winnow`: `winnow COMMAND ...` is `python -m jobs.COMMAND ...`."""

import importlib
import sys
from importlib import metadata

from jobs.engine.terminal.errors import UsageError
from jobs.engine.terminal.modules import commands, docstring, nearest, recipe_names
from jobs.engine.terminal.program import exit_code
from jobs.engine.terminal.screen import beside, say

HELP = ("-h", "--help", "help")
VERSION = ("-V", "--version", "version")


def overview() -> str:
    """Returns the overview of the commands, with a line for each where there is no terminal."""
    files = commands()
    width = max(map(len, files))
    lines = [beside(f"  {name:<{width}}  ", docstring(file).partition("\n")[0]) for name, file in files.items()]
    return "\n".join(
        ["usage: winnow COMMAND ...", "", *lines, "", "`winnow COMMAND --help` describes the arguments of a command."]
    )


def run(words: list[str]) -> int:
    """Runs the command that the first word names, with the other words as arguments. Returns its exit code."""
    if not words or words[0] in HELP:
        say(overview())
        return 0 if words else UsageError.exit_code
    if words[0] in VERSION:
        say(f"winnow {metadata.version('winnow')}")
        return 0
    name, files = words[0].replace("-", "_"), commands()
    if name in recipe_names():
        raise UsageError(f"{words[0]} is a recipe: winnow curate {' '.join(words)}")
    if name not in files:
        raise UsageError(f"no command {words[0]!r}{nearest(name, files) or '.'} There are: {', '.join(files)}")
    sys.argv = [sys.argv[0], *words[1:]]
    module = importlib.import_module(f"jobs.{name}.__main__" if files[name].stem == "__main__" else f"jobs.{name}")
    return module.main()


def main() -> int:
    """Runs the program. Returns the exit code."""
    return exit_code(lambda: run(sys.argv[1:]))


if __name__ == "__main__":
    sys.exit(main())
