"""The folders that `save_to_disk` of Hugging Face datasets writes: which of their files are the shards."""

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from fsspec import AbstractFileSystem

STATE, SPLITS = "state.json", "dataset_dict.json"
DESCRIPTIONS = ("dataset_info.json", "dataset_infos.json")
"""Files that describe data, beside it."""
TRAIN = "train"

File = TypeVar("File")


CACHED = re.compile(r"(.*)/snapshots/[^/]+/")
"""The folder of a dataset in the cache of the hub, whose snapshots link to its blobs."""


def shards_only(
    fs: AbstractFileSystem, files: Sequence[tuple[str, File]], say: Callable[[str], None]
) -> list[tuple[str, File]]:
    """Returns files without those that such a folder holds beside its shards.

    files: each with its path. A folder of several splits is read for `train` only; a test set is never read silently.
    """
    saved = {_folder(path): _json(fs, path) for path, _ in files if path.rsplit("/", 1)[-1] == STATE}
    saved = {folder: state["_data_files"] for folder, state in saved.items() if "_data_files" in state}
    left = {folder for path, _ in files if path.endswith(f"/{SPLITS}") for folder in _left_out(fs, path, say)}
    caches = {found.group(1) for path, _ in files if (found := CACHED.match(path))}
    blobs = tuple(f"{cache}/{inner}/" for cache in caches for inner in ("blobs", "refs"))
    kept = []
    for path, file in files:
        folder, name = _folder(path), path.rsplit("/", 1)[-1]
        shard = any(each.get("filename") == name for each in saved.get(folder, []))
        about = folder in saved and not shard
        if not about and folder not in left and name != SPLITS and not path.startswith(blobs):
            kept.append((path, file))
    return kept


def _left_out(fs: AbstractFileSystem, path: str, say: Callable[[str], None]) -> list[str]:
    splits = _json(fs, path).get("splits", [])
    others = [split for split in splits if split != TRAIN] if TRAIN in splits else []
    if others:
        say(f"skipped in {_folder(path)}: the splits {', '.join(others)}; name their folders to read them")
    return [f"{_folder(path)}/{split}" for split in others]


def _folder(path: str) -> str:
    return path.rsplit("/", 1)[0]


def _json(fs: AbstractFileSystem, path: str) -> dict[str, Any]:
    try:
        found = json.loads(fs.cat_file(path))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
