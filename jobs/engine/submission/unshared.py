"""Whether the places that a job names are there on every node, as far as their names tell."""

import os
import re
from argparse import Namespace
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from jobs.engine.execute.profile import PROFILES
from jobs.engine.submission.upload import uploaded
from jobs.engine.terminal.errors import UsageError

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
"""How a URL begins, also after it was made a path, which has one slash instead of two."""
SMALL = ("config", "profile", "settings")
"""The options that name a file that only the driver reads; it may lie in the code that is sent."""
ADVICE = "give an absolute path that all nodes share, or a URL such as s3://..."


def unshared(
    options: Namespace, inputs: Iterable[str], fields: Iterable[str], code: Path | None, excludes: Sequence[str] = ()
) -> Iterator[UsageError]:
    """An error for each place that the nodes of a cluster would not find.

    inputs: what the command reads. fields: its field=value words. code: the folder that is sent, without `excludes`.
    """
    if getattr(options, "out", None) is not None:
        yield from _refused("--out", str(options.out))
    if hasattr(options, "out") and hasattr(options, "store"):
        if options.store is None:
            yield UsageError(f"--store is missing: the default is a folder of this machine; {ADVICE}")
        else:
            yield from _refused("--store", options.store)
    for given in inputs:
        yield from _refused("the input", given)
    if getattr(options, "heldout", None) is not None:
        yield from _refused("--heldout", options.heldout)
    model = getattr(options, "model", None)
    for field in (*fields, *([f"model={model}"] if model else [])):
        name, _, value = field.partition("=")
        if value.startswith(("./", "../", "~")) or os.path.exists(value):
            yield from _refused(f"{name}=", value)
    for option in SMALL:
        given = getattr(options, option, None)
        if given is not None:
            yield from _sent(option, str(given), code, excludes)


def is_shared(place: str) -> bool:
    """Whether a place may be the same on all nodes: an absolute path, or a URL."""
    return os.path.isabs(place) or bool(URL.match(place))


def _refused(named: str, place: str) -> Iterator[UsageError]:
    if not is_shared(place):
        space = "" if named.endswith("=") else " "
        yield UsageError(f"{named}{space}{place}: a job runs on other machines: {ADVICE}")


def _sent(option: str, given: str, code: Path | None, excludes: Sequence[str]) -> Iterator[UsageError]:
    """An error where a small file would not reach the driver. The name of a profile is none."""
    if is_shared(given) or (option == "profile" and (PROFILES / f"{given}.yaml").exists()):
        return
    if code is None or not (code / given).is_file():
        where = f"in {code}, whose files are sent" if code else "on the cluster, as no code is sent"
        yield UsageError(f"--{option} {given}: there is no such file {where}; {ADVICE}")
    elif os.path.normpath(given) not in {each.file for each in uploaded(code, excludes)}:
        by = ".gitignore, .rayignore or excludes"
        yield UsageError(f"--{option} {given}: it is not sent with {code}, because {by} names it; {ADVICE}")
