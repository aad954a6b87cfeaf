"""The files under a local folder, through links too: each folder once, so that loops end."""

import os
from collections.abc import Callable
from typing import Any

from fsspec.implementations.local import LocalFileSystem

from jobs.engine.ingest.files.held_out import few


def found_under(fs: LocalFileSystem, root: str, given: str, say: Callable[[str], None]) -> dict[str, dict[str, Any]]:
    """Returns the description of each file under a folder, by its path. A link that leads nowhere is named.

    given: the folder as the user names it. A folder that is reached both by its own path and by a link is read by its
    own path.
    """
    files: list[str] = []
    links: list[str] = []
    seen: set[str] = set()
    _walk(root, files, links, seen)
    while links:
        link = links.pop(0)
        if os.path.realpath(link) not in seen:
            _walk(link, files, links, seen)
    dangling = [path for path in files if not os.path.exists(path)]
    if dangling:
        shown = [f"{path[len(root) :].lstrip('/')} -> {os.readlink(path)}" for path in sorted(dangling)]
        say(f"skipped in {given}, links that lead nowhere: {few(shown)}")
    return {path: fs.info(path) for path in sorted(set(files) - set(dangling))}


def _walk(folder: str, files: list[str], links: list[str], seen: set[str]) -> None:
    for here, folders, names in os.walk(folder):
        seen.add(os.path.realpath(here))
        links += [os.path.join(here, name) for name in sorted(folders) if os.path.islink(os.path.join(here, name))]
        files += [os.path.join(here, name) for name in names if not _special(os.path.join(here, name))]


def _special(path: str) -> bool:
    """Whether a path is neither a file nor a link: a socket or a pipe, which would be read for ever."""
    return not os.path.islink(path) and not os.path.isfile(path)
