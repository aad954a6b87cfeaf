"""The folders that Winnow writes itself. Their files are no raw data, wherever the folders are."""

import re
from collections.abc import Collection, Iterable

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs

POOL, RUN, STORE = "a pool", "what a run of Winnow wrote", "a store of Winnow"

OUTPUTS = ("selected.jsonl", "pairs.jsonl")
"""The files of a run that hold records."""

MANIFESTS = {
    "manifest.yaml": re.compile(rb"^winnow_\w+:", re.MULTILINE),
    "comparison.json": re.compile(rb"\A\s*\{\s*\"winnow_comparison\""),
}
"""The files by which the output of a run is known, and what their heads have."""
HEAD_BYTES = 4096

IN_STORE = re.compile(r"(.*?)/(?:features|pools|trained)/(?:\w+-)?[0-9a-f]{16}/")
"""A path in one of the folders of a store that are named by a hash (jobs/engine/store/store.py)."""

IN_UNFINISHED = re.compile(r"(.*?)/\.tmp-[0-9a-f]{12}/")
"""A path in the interim folder of an ingest that was killed (jobs/engine/ingest/build.py)."""


def written_by(fs: AbstractFileSystem, folder: str) -> str | None:
    """Returns what a folder of Winnow's is, a pool or the output of a run, finished or not; None for other folders."""
    if fs.exists(f"{folder}/pool.json"):
        return POOL
    return RUN if any(_has(fs, f"{folder}/{name}", mark) for name, mark in MANIFESTS.items()) else None


def _has(fs: AbstractFileSystem, file: str, mark: re.Pattern[bytes]) -> bool:
    head = fs.cat_file(file, start=0, end=HEAD_BYTES) if fs.exists(file) else b""
    return isinstance(head, bytes) and bool(mark.search(head))


def written_under(fs: AbstractFileSystem, root: str, paths: Collection[str], apart: str | None) -> dict[str, str]:
    """Returns the outermost of Winnow's own folders among these paths under a root, and what each of them is.

    The root counts too. The folders end with a slash. apart: a folder, as the user names it, that counts as a store
    whatever it holds.
    """
    return _outermost(fs, root, {path.rsplit("/", 1)[0] for path in paths if _tells(path)}, paths, apart)


def written_above(fs: AbstractFileSystem, root: str, paths: Collection[str], apart: str | None) -> dict[str, str]:
    """Returns the same for all folders below a root that these paths lie in."""
    folders = set()
    for path in paths:
        parts = path[len(root) :].lstrip("/").split("/")[:-1]
        folders |= {"/".join([root, *parts[:depth]]) for depth in range(1, len(parts) + 1)}
    return _outermost(fs, root, folders, paths, apart)


def _tells(path: str) -> bool:
    return path.rsplit("/", 1)[-1] in ("pool.json", *MANIFESTS)


def _outermost(
    fs: AbstractFileSystem, root: str, folders: Iterable[str], paths: Collection[str], apart: str | None
) -> dict[str, str]:
    found = {folder + "/": what for folder in folders if (what := written_by(fs, folder))}
    for pattern, what in ((IN_STORE, STORE), (IN_UNFINISHED, POOL)):
        found |= {root + match.group(1) + "/": what for path in paths if (match := pattern.match(path, len(root)))}
    place = _place(fs, apart)
    if place and any(path.startswith(place) for path in paths):
        found[place] = STORE
    outer: dict[str, str] = {}
    for folder in sorted(found):
        hidden = any(part.startswith(".") for part in folder[len(root) :].split("/"))
        if not hidden and not folder.startswith(tuple(outer)):
            outer[folder] = found[folder]
    return outer


def _place(fs: AbstractFileSystem, folder: str | None) -> str:
    """Returns the path of the folder in this file system, with a slash at the end; empty if it is in another one."""
    if folder is None:
        return ""
    other, place = url_to_fs(folder)
    return place.rstrip("/") + "/" if type(other) is type(fs) else ""
