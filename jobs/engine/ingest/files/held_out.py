"""The files of a folder that belong to a split for tests, by the names that datasets have: test, validation, dev."""

import re
from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

HELD_OUT = r"test|testing|eval|evaluation|validation|valid|val|dev"
WORD = re.compile(rf"(?<=[-._ /])(?:(train|training)|(?:{HELD_OUT}))(?=[-._ /0-9])", re.IGNORECASE)

File = TypeVar("File")


def training_only(
    files: Sequence[tuple[str, File]], root: str, given: str, say: Callable[[str], None]
) -> list[tuple[str, File]]:
    """Returns files without those of splits for tests that stand beside a split for training. One line names these.

    files: each with its path, under the root. given: the root as the user names it. A name tells the split by a word
    with nothing but marks and digits around it. Beside each other are names that are equal before that word:
    `data/train-0.parquet` and `data/test-0.parquet`, and not `train/a.jsonl` and `code-eval/a.jsonl`.
    """
    training = {path[: found.start()] for path, _ in files for found in _words(path, root) if found.group(1)}
    kept, left = [], []
    for path, file in files:
        held_out = any(not found.group(1) and path[: found.start()] in training for found in _words(path, root))
        (left if held_out else kept).append((path, file))
    if left:
        names = [path[len(root) :].lstrip("/") for path, _ in left]
        say(
            f"skipped in {given}, of splits for tests, as there is one for training: {few(names)}; "
            "name them to read them"
        )
    return kept


def few(names: Sequence[str]) -> str:
    """Returns the first names of a list for a message, and how many others there are."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5:,} more" if len(names) > 5 else "")


def split_named(name: str) -> Literal["train", "test", ""]:
    """Returns which split a word of a name says that it is; empty for none."""
    found = WORD.search(f"/{name}.")
    return "" if found is None else "train" if found.group(1) else "test"


def _words(path: str, root: str) -> list[re.Match[str]]:
    return list(WORD.finditer(path, len(root.rstrip("/")) + 1))
