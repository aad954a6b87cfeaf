"""The options that several commands share, and what they say, as plain values.

    --out FOLDER --store FOLDER --profile NAME         where results, features and execution settings are
    --columns instruction=question,response=answer     where records have other field names
    --limit max_turns=20000,max_nesting=200            the most that a record may have
    --ignore review_round                              a field by which no two records differ
    --keep-unanswered                                  for records that have a label in place of an answer
    --pairs both                                       the answers of a preference record that are samples
    --near-duplicates 0.9                              from which similarity a sample repeats an earlier one
    --decontaminate test.jsonl --ngram 13              test sets whose texts no sample may share
    --mix code.jsonl=0.3 chat.jsonl=5000               the share or the most samples of a source
    --max-unreadable 0.2                               the share of records that may be unreadable

Nothing heavy is imported here, so that `--help` is quick.
"""

import argparse
import itertools
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from jobs.engine.terminal.errors import UsageError
from jobs.engine.terminal.parser import Parser
from jobs.engine.terminal.program import fields_and_others

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

COLUMN_ROLES = ("instruction", "input", "response", "reasoning", "system", "messages", "tools")
LIMITS = ("max_record_bytes", "max_turns", "max_nesting", "max_expansion")
MAX_UNREADABLE = 0.05
AMOUNT = re.compile(r"(?P<number>\d+(?:\.\d+)?|\.\d+|\d{1,3}(?:,\d{3})+)(?P<percent>%?)")
COLUMNS: Mapping[str, Any] = {
    "metavar": "ROLE=FIELD,...",
    "help": f"where records have other field names; the roles are {', '.join(COLUMN_ROLES)}",
}
INPUTS_AND_FIELDS: Mapping[str, Any] = {
    "nargs": "+",
    "metavar": "INPUT... field=value",
    "help": "raw files or one ingested pool, and fields",
}
COLUMN = re.compile(f"(?:{'|'.join(COLUMN_ROLES)})=")
DASHED = re.compile(r"--[A-Za-z_][\w.-]*")
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
    group.add_argument("--columns", **COLUMNS)
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
    _before(parser.add_argument_group("what is left out of raw files"))
    return parser


def _before(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--near-duplicates",
        type=_similarity,
        metavar="SIMILARITY",
        help="leave out samples whose text is as similar to an earlier one, from 0.5 to 1, for example 0.9",
    )
    group.add_argument(
        "--decontaminate",
        nargs="+",
        action="extend",
        metavar="FILE",
        help="set samples aside that share --ngram words in a row with a record of these test sets",
    )
    group.add_argument(
        "--ngram", type=int, metavar="N", help="words, or characters in scripts without spaces (default: 13)"
    )
    group.add_argument(
        "--mix",
        nargs="+",
        action="extend",
        metavar="SOURCE=SHARE",
        help="the share of the pool (0.3 or 30%%) or the most samples (5000) of a file, a folder or a pattern",
    )
    group.add_argument("--mix-seed", type=int, metavar="N", help="which samples the mix draws (default: 0)")


def _share(text: str) -> float:
    """A share as 0.05 or 5%."""
    share = _decimal(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a share, such as 0.05 or 5%")
    return float(share)


def _similarity(text: str) -> float:
    similarity = _decimal(text)
    if not Decimal("0.5") <= similarity <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a similarity from 0.5 to 1, such as 0.9")
    return float(similarity)


def _decimal(text: str) -> Decimal:
    """The number that a text writes; -1 for other texts."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        return Decimal(-1)
    return number if number.is_finite() else Decimal(-1)


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


def parsed(parser: Parser, argv: Sequence[str] | None) -> argparse.Namespace:
    """The options of a command that takes fields, in any order with its inputs.

    argv: as for `words_of`. UsageError, with what to write, for a field that is written as an option or as a test set.
    """
    words = words_of(argv)
    _refuse_dashed(parser, words)
    options = parser.parse_intermixed_args(words)
    for field in fields_and_others(getattr(options, "decontaminate", None) or ())[0]:
        raise UsageError(
            f"--decontaminate takes {field} for a test set: write fields before it, or after other options"
        )
    return options


def _refuse_dashed(parser: Parser, words: Sequence[str]) -> None:
    """UsageError, with what to write, where a word is an option that the parser does not have: --budget 5."""
    options = parser.long_options()
    for word, after in itertools.zip_longest(words, words[1:], fillvalue=""):
        name, equals, value = word.partition("=")
        if not DASHED.fullmatch(name) or any(option.startswith(name) for option in options):
            continue
        value = value if equals else after if after and not after.startswith("-") else "..."
        field = name.removeprefix("--").replace("-", "_")
        near = parser.option_like(name)
        other = f", or {near} for that option" if near else ""
        raise UsageError(f"there is no option {name}. A field has no dashes: write {field}={value}{other}")


def reading_given(options: argparse.Namespace) -> dict[str, Any]:
    """The settings of an ingest that the options give, as plain values, without those that were not given.

    UsageError where an option is not a list of NAME=VALUE, or has an unknown name.
    """
    given: dict[str, Any] = {}
    if options.columns is not None:
        given["columns"] = columns_given(options.columns)
    if options.limit is not None:
        given |= {name: _number(name, text) for name, text in _pairs("--limit", options.limit.split(",")).items()}
    if options.ignore is not None:
        given["ignore"] = [name for name in options.ignore.split(",") if name]
    if options.keep_unanswered:
        given["answers"] = "optional"
    if options.pairs is not None:
        given["pairs"] = options.pairs
    if options.mix is not None:
        # the name of a source may have an equals sign
        sources = _pairs("--mix", options.mix, "it is not SOURCE=SHARE", str.rpartition)
        given["mix"] = {name: _amount(name, text) for name, text in sources.items()}
    plain = {name: getattr(options, name) for name in ("near_duplicates", "decontaminate", "ngram", "mix_seed")}
    return given | {name: value for name, value in plain.items() if value is not None}


def _amount(name: str, text: str) -> float:
    """A share as 0.3 or 30%, or a whole number of samples, with thousands separators or without."""
    match = AMOUNT.fullmatch(text)
    if not match:
        raise UsageError(f"--mix {name}={text}: write a share, as 0.3 or 30%, or a whole number of samples, as 5000")
    number = match["number"].replace(",", "")
    return float(Decimal(number) / 100) if match["percent"] else float(number)


def columns_given(text: str) -> dict[str, str]:
    """The field of each role that a value of --columns names. UsageError where it is no list of ROLE=FIELD."""
    return _pairs("--columns", NEXT_COLUMN.split(text))


def _pairs(
    option: str,
    words: Sequence[str],
    wrong: str = "{!r} is not NAME=VALUE",
    parts: Callable[[str, str], tuple[str, str, str]] = str.partition,
) -> dict[str, str]:
    """The values by their names. UsageError for a word without either, of which `wrong` says what it is not."""
    pairs: dict[str, str] = {}
    for word in words:
        name, equals, value = parts(word, "=")
        if not (name and equals and value):
            raise UsageError(f"{option} {word}: {wrong.format(word)}")
        if name in pairs:
            raise UsageError(f"{option} {word}: {name} is named twice")
        pairs[name] = value
    return pairs


def _number(name: str, text: str) -> int:
    if name not in LIMITS:
        raise UsageError(f"--limit {name}={text}: there is no such limit; there are {', '.join(LIMITS)}")
    if not text.isdecimal():
        raise UsageError(f"--limit {name}={text}: {text!r} is not a whole number")
    return int(text)
