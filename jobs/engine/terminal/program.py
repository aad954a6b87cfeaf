"""What every command does around its work: separates fields from inputs, and turns errors into an exit code."""

import errno
import glob
import io
import os
import re
import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from jobs.engine.terminal.ending import CODE, end_in_time
from jobs.engine.terminal.errors import WinnowError, each_of, first_line
from jobs.engine.terminal.place_errors import of_a_place
from jobs.engine.terminal.screen import say
from operators.missing import ModelMissing

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
ROOM = "Free some space"

FIELD = re.compile(r"[A-Za-z_][\w.]*=")


def program(command: str) -> str:
    """Returns how a command was called, such as `winnow curate`; with its folder if that is not in PATH."""
    if Path(sys.argv[0]).stem != "winnow":
        return f"python -m jobs.{command}"
    return f"{'winnow' if shutil.which('winnow') else sys.argv[0]} {command}"


def fields_and_others(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Returns the field=value words of a command line, and the other words. A word that names a file is no field."""
    fields = [word for word in words if FIELD.match(word) and not _names_a_file(word)]
    return fields, [word for word in words if word not in fields]


def _names_a_file(word: str) -> bool:
    """Whether a word is the path of an existing file, or a glob that matches one, such as language=*/part.jsonl."""
    return os.path.exists(word) or (glob.has_magic(word) and any(glob.iglob(word, recursive=True)))


def as_typed(name: str, words: Sequence[str] | None) -> str:
    """Returns the command line that repeats a command with these words; with None, with those of this process."""
    return shlex.join([*program(name).split(), *(sys.argv[1:] if words is None else words)])


def exit_code(main: Callable[[], int]) -> int:
    """Runs a command and prints its errors. Returns the exit code.

    0: done; 1: failed; 2: wrong usage; 3: over the error budget or nothing selected; 130 or 143: ended by a signal.
    """
    signal.signal(signal.SIGTERM, end_in_time)
    # Ray would join the last cluster of this machine, dead or not, where something needs it before it is connected.
    os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")
    if isinstance(sys.stdout, io.TextIOWrapper):  # a text that the terminal has no letters for ends no run
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return main()
    except (WinnowError, ModelMissing) as error:
        for each in each_of(error):
            _told(f"error: {each}")
        return error.exit_code if isinstance(error, WinnowError) else 1
    except KeyboardInterrupt:
        say("stopped; what is done is kept, and the same command goes on from there")
        return 130
    except SystemExit as ended:
        if ended.code == CODE:
            say("ended by SIGTERM; what is done is kept, and the same command goes on from there")
        raise
    except Exception as error:
        if not of_a_place(error):
            raise
        # The message of an error of a Ray task is a traceback; its cause is what it is about.
        told = first_line(getattr(error, "cause", None) or error)
        if getattr(error, "errno", None) in FULL and ROOM not in told:
            told += f". {ROOM} or give another --store or --out; what is done is kept."
        _told(f"error: {told}")
        return 1


def _told(line: str) -> None:
    """Prints a line; to standard error where nothing can be written to standard output, such as on a full disk."""
    try:
        say(line)
    except OSError:
        sys.stderr.write(f"{line}\n")
