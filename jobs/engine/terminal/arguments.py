"""The options that several commands share, and what they say, as plain values.

    --out FOLDER --store FOLDER --profile NAME         where results, features and execution settings are
    --columns instruction=question,response=answer     where records have other field names
    --limit max_turns=20000,max_nesting=200            the most that a record may have
    --ignore review_round                              a field by which no two records differ
    --keep-unanswered                                  for records that have a label in place of an answer
    --pairs both                                       the answers of a preference record that are samples
    --max-unreadable 0.2                               the share of records that may be unreadable

Nothing heavy is imported here, so that `--help` is quick.
"""

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from jobs.engine.terminal.errors import UsageError

DEFAULT_STORE = ".winnow"
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "--out": {"metavar": "FOLDER", "help": "the folder or URL to write to"},
    "--store": {
        "metavar": "FOLDER",
        "help": f"the folder or URL where results are kept for later runs (default: {DEFAULT_STORE})",
    },
    "--profile": {"metavar": "NAME", "help": "how to execute: a name in cluster/profiles, or a YAML file"},
    "--retry-errors": {"action": "store_true", "help": "compute again what failed before"},
}
"""The options that mean the same in every command that has them."""

COLUMN_ROLES = ("instruction", "input", "response", "system", "messages", "tools")
LIMITS = ("max_record_bytes", "max_turns", "max_nesting", "max_expansion")
MAX_UNREADABLE = 0.05
COLUMN = re.compile(f"(?:{'|'.join(COLUMN_ROLES)})=")
NEXT_COLUMN = re.compile(f",(?={COLUMN.pattern})")


def shared_options(*names: str, required: Sequence[str] = ()) -> argparse.ArgumentParser:
    """A parser of the named options and of the required ones, to be a parent of a command's parser."""
    parser = argparse.ArgumentParser(add_help=False)
    for name in (*required, *names):
        parser.add_argument(name, **{**OPTIONS[name], "required": name in required})
    return parser


def reading_options(max_unreadable: float | None = MAX_UNREADABLE) -> argparse.ArgumentParser:
    """A parser of the options for raw files, to be a parent of a command's parser.

    max_unreadable: the default of --max-unreadable.
    """
    parser = argparse.ArgumentParser(add_help=False)
    group = parser.add_argument_group("how raw files are read")
    group.add_argument(
        "--columns",
        metavar="ROLE=FIELD,...",
        help=f"where records have other field names; the roles are {', '.join(COLUMN_ROLES)}",
    )
    group.add_argument(
        "--limit",
        metavar="NAME=N,...",
        help=f"the most that a record may have, or else it is set aside: {', '.join(LIMITS)}",
    )
    group.add_argument(
        "--ignore", metavar="FIELD,...", help="fields by which no two records differ, besides ids and the like"
    )
    group.add_argument(
        "--keep-unanswered",
        action="store_true",
        help="keep records without an answer, for those that have a label to learn",
    )
    group.add_argument(
        "--pairs",
        choices=("chosen", "both", "skip"),
        help="which answers of a preference record are samples (default: chosen)",
    )
    group.add_argument(
        "--max-unreadable",
        type=_share,
        default=max_unreadable,
        metavar="SHARE",
        help=f"the share of records that may be unreadable before the command fails (default {MAX_UNREADABLE})",
    )
    return parser


def _share(text: str) -> float:
    share = float(text)
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a share from 0 to 1")
    return share


def words_of(argv: Sequence[str] | None) -> list[str]:
    """The words of the command line, with several ROLE=FIELD words after --columns joined to one.

    With None, the words that this process was started with.
    """
    words: list[str] = []
    for word in sys.argv[1:] if argv is None else argv:
        if len(words) > 1 and words[-2] == "--columns" and COLUMN.match(words[-1]) and COLUMN.match(word):
            words[-1] += f",{word}"
        else:
            words.append(word)
    return words


def reading_given(options: argparse.Namespace) -> dict[str, Any]:
    """The settings of an ingest that the options give, as plain values, without those that were not given.

    UsageError where an option is no list of NAME=VALUE, or names what there is not.
    """
    given: dict[str, Any] = {}
    if options.columns is not None:
        given["columns"] = _pairs("--columns", NEXT_COLUMN.split(options.columns))
    if options.limit is not None:
        given |= {name: _number(name, text) for name, text in _pairs("--limit", options.limit.split(",")).items()}
    if options.ignore is not None:
        given["ignore"] = [name for name in options.ignore.split(",") if name]
    if options.keep_unanswered:
        given["answers"] = "optional"
    if options.pairs is not None:
        given["pairs"] = options.pairs
    return given


def _pairs(option: str, words: Sequence[str]) -> dict[str, str]:
    pairs = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not (name and equals and value):
            raise UsageError(f"{option} {','.join(words)}: {word!r} is not NAME=VALUE")
        if name in pairs:
            raise UsageError(f"{option} {','.join(words)}: {name} is named twice")
        pairs[name] = value
    return pairs


def _number(name: str, text: str) -> int:
    if name not in LIMITS:
        raise UsageError(f"--limit {name}={text}: there is no such limit; there are {', '.join(LIMITS)}")
    if not text.isdecimal():
        raise UsageError(f"--limit {name}={text}: {text!r} is not a whole number")
    return int(text)
