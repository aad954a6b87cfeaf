"""The files that the inputs name by paths, folders, globs and URLs: in order, each with its size and stamp."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from jobs.engine.ingest.faults import InputError
from jobs.engine.ingest.files.own import OUTPUTS, RUN, written_above, written_by, written_under

SUFFIXES = (".json", ".jsonl", ".json.gz", ".jsonl.gz", ".json.zst", ".jsonl.zst", ".parquet")
FORMATS = "the formats are " + ", ".join(SUFFIXES)
MAGIC = "*?["

# What a file system says of the content of a file, the most reliable first. A memory:// file has only "created".
STAMPS = ("ETag", "etag", "md5Hash", "sha256", "blob_id", "mtime", "LastModified", "last_modified", "updated")
STAMPS += ("created",)

Say = Callable[[str], None]


def silent(line: str) -> None:
    """Prints nothing."""


@dataclass(frozen=True)
class Source:
    """One file to ingest."""

    uri: str
    """The file as the input names it: a relative path stays relative."""

    path: str
    """The path or URL that fsspec opens, on whatever node the task runs."""

    size: int | None
    stamp: str

    @property
    def suffix(self) -> str:
        """The ending of the name that says the format, in lower case."""
        return suffix_of(self.uri)


def suffix_of(path: str) -> str:
    """Returns the longest of the known endings that the path has, or an empty string."""
    name = path.split("::", 1)[0].split("?", 1)[0].lower()
    return max((suffix for suffix in SUFFIXES if name.endswith(suffix)), key=len, default="")


def sources_of(inputs: Sequence[str], say: Say, apart: str | None = None) -> list[Source]:
    """Returns the files of all inputs in the order given, sorted within a folder or glob, each once.

    What Winnow wrote itself inside a folder is not read: pools, stores, and the results of runs. apart: another such
    folder. InputError for an input that is not there, or that has no file to read.
    """
    if not inputs:
        raise InputError("no input was named; name files, folders, globs or URLs")
    found: dict[str, Source] = {}
    for given in inputs:
        for source in _sources_of_one(given, say, apart):
            if source.path in found:
                say(f"skipped {source.uri}: it is {found[source.path].uri}, which is read already")
            else:
                found[source.path] = source
    return list(found.values())


def _sources_of_one(given: str, say: Say, apart: str | None) -> list[Source]:
    try:
        fs, root = url_to_fs(given)
        if fs.isfile(root):
            if not suffix_of(given):
                raise InputError(f"{given}: a file of this format cannot be read; {FORMATS}")
            return [_source(fs, given, root, fs.info(root), given)]
        if fs.isdir(root):
            _refuse_run(fs, given, root)
            return _readable(given, _under(fs, given.rstrip("/") or "/", root, say, apart), say)
        if any(character in given for character in MAGIC):
            return _readable(given, _matching(fs, given, root, say, apart), say)
    except (ImportError, ValueError, OSError) as error:
        raise InputError(f"{given}: cannot be looked at: {error}") from error
    raise InputError(f"{given}: there is no such file or folder")


def _refuse_run(fs: AbstractFileSystem, given: str, root: str) -> None:
    """InputError, with the file that can be read instead, for the output folder of a run."""
    if written_by(fs, root) == RUN:
        readable = [name for name in OUTPUTS if fs.exists(f"{root}/{name}")]
        instead = f"name what it holds: {given.rstrip('/')}/{readable[0]}" if readable else "it holds no records"
        raise InputError(f"{given} is {RUN}; {instead}")


def _readable(given: str, files: list[Source], say: Say) -> list[Source]:
    """Returns the files of a known format. One line on the screen names the others."""
    readable = [file for file in files if file.suffix]
    others = [file.uri for file in files if not file.suffix]
    if others:
        shown = ", ".join(others[:5]) + (", ..." if len(others) > 5 else "")
        say(f"skipped in {given}: {len(others):,} files of other formats ({shown})")
    if not readable:
        raise InputError(f"{given}: no file to read is there; {FORMATS}")
    return readable


def _under(fs: AbstractFileSystem, uri: str, root: str, say: Say, apart: str | None) -> list[Source]:
    """Returns all files under a folder except hidden ones and those that Winnow wrote, sorted by path."""
    found = fs.find(root, detail=True)
    ours = written_under(fs, root, found, apart)
    for folder, what in sorted(ours.items()):
        say(f"skipped {uri.rstrip('/')}{folder[len(root.rstrip('/')) :]}: it is {what}, not raw files")
    files = []
    for path in sorted(found):
        inner = path[len(root) :]
        if not any(part.startswith(".") for part in inner.split("/")) and not path.startswith(tuple(ours)):
            files.append(_source(fs, uri.rstrip("/") + "/" + inner.lstrip("/"), path, found[path]))
    return files


def _matching(fs: AbstractFileSystem, given: str, root: str, say: Say, apart: str | None) -> list[Source]:
    """Returns the files that a glob matches, and those under the folders that it matches, sorted by path.

    A file that Winnow wrote is read where the glob ends in its whole name, as out/*/selected.jsonl does.
    """
    plain = given[: min(given.index(character) for character in MAGIC if character in given)]
    begin = plain.rfind("/") + 1
    root_begin = len(root) - len(given[begin:].rstrip("/"))
    matches: dict[str, Any] = fs.glob(root, detail=True)  # pyright: ignore[reportAssignmentType]
    hidden = any(part.startswith(".") for part in given[begin:].split("/"))
    named = not any(character in root.rsplit("/", 1)[-1] for character in MAGIC)
    plain_files = [path for path in matches if matches[path]["type"] != "directory"]
    ours = {} if named else written_above(fs, root[:root_begin].rstrip("/"), plain_files, apart)
    for folder, what in sorted(ours.items()):
        say(f"skipped {given[:begin]}{folder[root_begin:]}: it is {what}, not raw files")
    files = []
    for path in sorted(matches):
        uri = given[:begin] + path[root_begin:]
        if not hidden and any(part.startswith(".") for part in path[root_begin:].split("/")):
            continue
        if path.startswith(tuple(ours)):
            continue
        if matches[path]["type"] == "directory":
            files.extend(_under(fs, uri, path, say, apart))
        else:
            files.append(_source(fs, uri, path, matches[path]))
    return files


def _source(fs: AbstractFileSystem, uri: str, path: str, info: dict[str, Any], opened_as: str | None = None) -> Source:
    stamp = next((f"{name}={info[name]}" for name in STAMPS if info.get(name) is not None), "")
    if not uri.isprintable() and any("\udc80" <= character <= "\udcff" for character in uri):
        raise InputError(f"{uri!r}: the file's name is not UTF-8; rename it")
    local = isinstance(fs, LocalFileSystem) and "::" not in uri
    resolved = os.path.realpath(path) if local else opened_as or fs.unstrip_protocol(path)
    return Source(uri, resolved, info.get("size"), stamp)
