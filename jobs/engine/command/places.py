"""The places that a command reads from and writes to, checked before Ray starts."""

import os
import re
import stat
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import fsspec

from jobs.engine.ingest.files.hub import asking_the_hub
from jobs.engine.ingest.files.inputs import silent, sources_of
from jobs.engine.store.folder import Folder
from jobs.engine.store.store import Store
from jobs.engine.terminal.arguments import DEFAULT_STORE
from jobs.engine.terminal.errors import UsageError, together
from jobs.engine.terminal.order import refuse_recipe

SUBMITTED = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""The environment variable that Ray sets for the driver of a submitted job."""
PACKAGES = "runtime_resources"
"""The folder in which Ray unpacks what is submitted."""
CHAIN = "::"
"""What fsspec takes for the joint of two URLs."""
EXTRA = ("s3fs", "gcsfs")
PRIVATE = ("memory:",)
"""The prefixes of URLs that only one process can read."""
SLASH = re.compile(r"[a-z][a-z0-9+.-]+:/(?!/)")
"""How a URL begins that lacks a slash, which would be made as a folder; a drive of Windows is one letter."""


def store_at(given: str | None) -> Store:
    """Returns the store in a folder or at a URL; None is `.winnow`. UsageError if it cannot be written to."""
    return Store(_writable("--store", given or DEFAULT_STORE).url)


def out_folder(out: str | None, store: str | None = None, inputs: Sequence[str] = ()) -> Folder:
    """Returns the folder or URL to write to, which may not exist yet.

    UsageError if it is None, a file or an input, cannot be written to, would not outlast the job, or holds the store.
    store: as it was given.
    """
    if out is None:
        raise UsageError("say where to write: --out FOLDER")
    folder = _writable("--out", out)
    place = store or DEFAULT_STORE
    if f"{Folder.at(place).url}/".startswith(f"{folder.url}/"):
        raise UsageError(f"--out {out} holds the store {place}; give them a folder each")
    _refuse_an_input(out, inputs)
    return folder


def out_file(out: str, inputs: Sequence[str] = ()) -> tuple[Folder, str]:
    """Returns the folder and the name of a file, neither of which may exist yet. UsageError as for `out_folder`."""
    place, _, name = Folder.at(out).url.rpartition("/")
    folder = _writable("--out", out, inside=place)
    if not name or out.endswith("/") or (folder.local and os.path.isdir(out)):
        raise UsageError(f"--out {out} is a folder; name a file")
    _refuse_an_input(out, inputs)
    return folder, name


def out_pool(out: str) -> Folder:
    """Returns the folder or URL for a new pool, as workers find it. UsageError if it cannot be written to."""
    return _writable("--out", out)


def _writable(option: str, given: str, inside: str | None = None) -> Folder:
    """Returns a place as workers find it. UsageError if it cannot be written to or would not outlast the job.

    inside: the folder that is written to, if it is not the place that was given itself.
    """
    if not given.strip():
        raise UsageError(f"{option} is an empty word: is a variable of the shell not set?")
    if SLASH.match(given):
        raise UsageError(f"{option} {given}: a URL has two slashes after the colon")
    if "://" in given:
        refuse_without_driver(given)
        refuse_private(option, given)
        folder = Folder.at(inside or given)
        if not folder.local:
            _refuse_unwritable_url(f"{option} {given}", folder)
            return folder
    elif CHAIN in given:
        raise UsageError(f"{option} {given}: {CHAIN} chains URLs, and a folder cannot have it in its name")
    folder = Folder.at(inside or given)
    _refuse_lost(option, given)
    _refuse_unwritable(f"{option} {given}", Path(folder.url))
    return folder


def look_at(inputs: Sequence[str]) -> None:
    """UsageError if an input is not there, or if a pool is given together with other inputs."""
    pools = [
        given
        for given, pool in zip(inputs, together(partial(_looked_at, each) for each in inputs), strict=True)
        if pool
    ]
    if pools and len(inputs) > 1:
        raise UsageError(f"{pools[0]} is a pool: give one pool, or raw files, not both")


def _looked_at(given: str) -> bool:
    """Whether an input is a pool. UsageError if it is not there."""
    if not given.strip():
        raise UsageError("an input is an empty word: is a variable of the shell not set?")
    if given == "-" or _is_stream(given):
        raise UsageError(
            f"{given}: standard input and pipes can be read only once, and a run reads its inputs again: "
            "write it to a file first, such as `... > data.jsonl`, and name that"
        )
    if "://" in given:
        refuse_without_driver(given)
        refuse_private("the input", given)
    with asking_the_hub(given):
        try:
            pool = Folder.at(given).exists("pool.json")
        except OSError as error:
            raise UsageError(f"{given}: it cannot be looked at: {error.strerror or error}") from None
        if not pool:
            refuse_recipe(given)
            sources_of([given], silent)
        return pool


def _is_stream(given: str) -> bool:
    """Whether a path is a pipe, a terminal or another device."""
    try:
        mode = os.stat(given).st_mode
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def place_of_run(given: str) -> Folder:
    """Returns the folder of a run that is there. UsageError if nothing can read such a URL."""
    if "://" in given:
        refuse_without_driver(given)
    return Folder.at(given)


def _refuse_an_input(out: str, inputs: Sequence[str]) -> None:
    if any(_same(given, out) for given in inputs):
        raise UsageError(f"--out {out} is an input; give another --out")


def _same(one: str, other: str) -> bool:
    if "://" in one or "://" in other:
        return one.rstrip("/") == other.rstrip("/")
    return Path(one).resolve() == Path(other).resolve()


def _refuse_lost(option: str, given: str) -> None:
    """UsageError if a submitted job would write to the copy of the working directory that Ray made for it."""
    if SUBMITTED in os.environ and (not os.path.isabs(given) or PACKAGES in Path(given).resolve().parts):
        raise UsageError(
            f"{option} {given}: a submitted job runs in a copy of its working directory, and Ray throws that away: "
            f"give {option} the whole path of a folder that all nodes share"
        )


def refuse_without_driver(url: str) -> None:
    """UsageError if the package that reads such URLs is not installed."""
    for link in url.split("::"):
        protocol, found, _ = link.partition("://")
        try:
            fsspec.get_filesystem_class(protocol if found else "file")
        except (ImportError, ValueError) as error:
            extra = any(name in str(error) for name in EXTRA)
            more = ": pip install 'winnow[cloud]'" if extra else ""
            raise UsageError(f"{url}: {error}{more}") from None


def refuse_private(named: str, url: str) -> None:
    """UsageError if only this process would see what is at a URL."""
    if url.split("::")[-1].startswith(PRIVATE):
        raise UsageError(
            f"{named} {url}: a place in memory is private to one process, and a run has several: "
            "give a folder, or a URL such as s3://bucket/folder"
        )


def _refuse_unwritable_url(named: str, folder: Folder) -> None:
    """UsageError if nothing can be written there. A small file is written for a moment to find out."""
    name = f".winnow-{uuid.uuid4().hex}"
    try:
        folder.write(name, b"x")
        folder.remove(name)
    except (OSError, NotImplementedError) as error:
        said = getattr(error, "strerror", None) or str(error) or "this file system is for reading only"
        raise UsageError(f"{named}: nothing can be written there: {said}") from None


def _refuse_unwritable(named: str, folder: Path) -> None:
    """UsageError if nothing can be written there. A file without a name is written for a moment to find out."""
    try:
        existing = next(each for each in (folder, *folder.absolute().parents) if each.exists())
        if not existing.is_dir():
            raise UsageError(f"{named}: nothing can be written there: {existing} is a file")
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(b"x")
    except OSError as error:
        raise UsageError(f"{named}: nothing can be written there: {error.strerror or error}") from None


def missing(field: str, file: str) -> Iterator[str]:
    """Gives a message if the file of samples, or the pool, in a recipe's field is not there."""
    try:
        _looked_at(file)
    except UsageError as error:
        yield f"{field}={error}"
