"""The parser of a command's words, whose refusals are one line as those of the commands are."""

import argparse
import difflib
from typing import NoReturn

from jobs.engine.terminal.errors import UsageError

ALIKE = 0.7
"""How similar a mistyped option has to be to one that there is."""


class Parser(argparse.ArgumentParser):
    """A parser that raises a UsageError, where argparse prints its usage and ends the process."""

    def error(self, message: str) -> NoReturn:
        """UsageError with argparse's message, the option that may be meant, and where the help is."""
        _, found, words = message.partition("unrecognized arguments: ")
        near = self.option_like(words.split("=")[0].split(" ")[0]) if found else ""
        meant = f"; did you mean {near}?" if near else "."
        raise UsageError(f"{message}{meant} `{self.prog} --help` describes the arguments")

    def long_options(self) -> list[str]:
        """The options of the parser that begin with two dashes."""
        return [option for action in self._actions for option in action.option_strings if option.startswith("--")]

    def option_like(self, word: str) -> str:
        """The option that is most similar to a mistyped one; empty if none is similar."""
        near = difflib.get_close_matches(word, self.long_options(), n=1, cutoff=ALIKE)
        return near[0] if near and word.startswith("-") else ""
