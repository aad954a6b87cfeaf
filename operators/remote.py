"""Models and files at URLs, read through a folder of this machine: a cache whose entries are named by their content.

    <cache>/models/<hash>/…        the files of a model
    <cache>/files/<hash>/<name>    single files

`put` copies a model's folder to a URL. Object stores have no folders, and a folder cannot be renamed there, so `put`
writes a list of the files with their sizes and hashes last: a model is whole where this list is.
"""

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs

LISTED = ".content.json"
"""The list of a model's files at a URL: for each name its size in bytes, and the SHA-256 of its content in hex."""

CACHE = "WINNOW_CACHE"
"""The environment variable that names the folder of the cache."""

BLOCK = 1 << 24
Listing = Mapping[str, tuple[int, str]]
"""The size of each file in bytes, and what tells its content from others: a hash, or what the store says of it."""


class CacheFailed(OSError):
    """The cache cannot be written. The message names its folder, and says how to choose another one."""


class Damaged(OSError):
    """A file at a URL is not what the list beside it says."""


def is_url(name: str) -> bool:
    """Whether a name is a URL, and not a path or the name of a model on the hub."""
    return "://" in name


def cache() -> Path:
    """The folder of the cache on this machine: $WINNOW_CACHE, or `winnow` in the user's folder for caches."""
    given = os.environ.get(CACHE)
    default = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "winnow"
    return Path(given).expanduser().absolute() if given else default


def listing(url: str) -> tuple[Listing, bool]:
    """The files at a URL, and whether they are known by the hashes of their contents. FileNotFoundError without any."""
    fs, root = _opened(url)
    if fs.exists(f"{root}/{LISTED}"):
        found = json.loads(cast(bytes, fs.cat_file(f"{root}/{LISTED}")))
        return {name: (size, digest) for name, (size, digest) in found.items()}, True
    files = cast(dict[str, Any], fs.find(root, detail=True))
    names = {path[len(root) :].lstrip("/"): info for path, info in files.items()}
    if not names or "" in names:
        raise FileNotFoundError(f"{url}: there is no such folder")
    return {name: (info["size"], fs.ukey(f"{root}/{name}")) for name, info in sorted(names.items())}, False


def whole(url: str) -> bool:
    """Whether a folder that `put` wrote to a URL is whole."""
    fs, root = _opened(url)
    return fs.exists(f"{root}/{LISTED}")


def local_folder(url: str) -> Path:
    """The folder in the cache with the files of a URL, which are read now if they are not there yet.

    Processes of one machine wait for one another. Damaged for a file that differs from the list beside it, CacheFailed
    where the cache cannot be written; FileNotFoundError and other OSErrors for the URL.
    """
    files, hashed = listing(url)
    made = cache() / "models" / _name({name: list(entry) for name, entry in files.items()})

    def fill(half: Path) -> None:
        fs, root = _opened(url)
        for name, (_, digest) in files.items():
            found = _read(fs, f"{root}/{name}", half / name)
            if hashed and found != digest:
                raise Damaged(f"{url}/{name} is not what {LISTED} beside it says; write the model there again")

    _filled(made, fill)
    return made


def local_file(url: str) -> Path:
    """The file in the cache with the content of a URL, as `local_folder`."""
    fs, path = _opened(url)
    made = cache() / "files" / _name([url, fs.ukey(path)])
    name = url.rpartition("/")[2]
    _filled(made, lambda half: _read(fs, path, half / name))
    return made / name


def put(folder: Path, url: str) -> None:
    """Copies the files of a folder to a URL, the list of them last. What is there is no model until that is written."""
    fs, root = _opened(url)
    withdraw(url)
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        fs.put_file(str(path), f"{root}/{name}")
        with path.open("rb") as file:
            found[name] = (path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())
    put_listing(url, found)


def put_listing(url: str, files: Listing) -> None:
    """Says that a folder at a URL is whole, and which files it has."""
    fs, root = _opened(url)
    fs.pipe_file(f"{root}/{LISTED}", json.dumps(files, indent=1, ensure_ascii=False).encode())


def withdraw(url: str) -> None:
    """Says that a folder at a URL is not whole."""
    fs, root = _opened(url)
    if fs.exists(f"{root}/{LISTED}"):
        fs.rm_file(f"{root}/{LISTED}")


def remove_file(url: str, name: str) -> None:
    """Removes a file of a folder that stays whole without it. Nothing happens if it is gone."""
    fs, root = _opened(url)
    files, _ = listing(url)
    if name in files:
        put_listing(url, {each: entry for each, entry in files.items() if each != name})
    if fs.exists(f"{root}/{name}"):
        fs.rm_file(f"{root}/{name}")


def _opened(url: str) -> tuple[AbstractFileSystem, str]:
    return url_to_fs(url, use_listings_cache=False)


def _name(identity: object) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]


def _read(fs: AbstractFileSystem, path: str, to: Path) -> str:
    """Copies a file to this machine. Returns the SHA-256 of its content."""
    digest = hashlib.sha256()
    with cached():
        to.parent.mkdir(parents=True, exist_ok=True)
        out = to.open("wb")
    with out, fs.open(path, "rb") as file:
        while block := cast(bytes, file.read(BLOCK)):
            digest.update(block)
            with cached():
                out.write(block)
                out.flush()
    return digest.hexdigest()


def _filled(made: Path, fill: Callable[[Path], object]) -> None:
    """Makes a folder of the cache, unless it is there. It has its name once `fill` has filled it."""
    from filelock import FileLock

    if made.is_dir():
        return
    with cached():
        made.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(made.parent / f".{made.name}.lock")
        lock.acquire()
    try:
        if not made.is_dir():
            with cached():
                half = Path(tempfile.mkdtemp(prefix=f".{made.name}-", dir=made.parent))
            try:
                fill(half)
                half.rename(made)
            finally:
                shutil.rmtree(half, ignore_errors=True)
    finally:
        lock.release()


@contextmanager
def cached() -> Iterator[None]:
    """An error of the disk of the cache is raised as CacheFailed."""
    try:
        yield
    except OSError as error:
        said = error.strerror or str(error)
        raise CacheFailed(
            error.errno or errno.EIO,
            f"{said} in the cache of models. Free some space, or set {CACHE} to another folder",
            str(cache()),
        ) from error
