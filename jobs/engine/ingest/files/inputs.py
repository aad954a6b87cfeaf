"""The files that the inputs name by paths, folders, globs and URLs: in order, each with its size and stamp."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from jobs.engine.ingest.faults import FileFault, InputError
from jobs.engine.ingest.files.forms import HEAD_BYTES, Form, form_of, suffix_of
from jobs.engine.ingest.files.held_out import few, training_only
from jobs.engine.ingest.files.hub import dataset_of, parquet_files, refuse_offline
from jobs.engine.ingest.files.links import found_under
from jobs.engine.ingest.files.own import OUTPUTS, RUN, written_above, written_by, written_under
from jobs.engine.ingest.files.saved import DESCRIPTIONS, shards_only

FORMATS = (
    "files are read by their content: JSON, JSON lines, parquet, Arrow, csv, tsv, and tar of json, compressed or not"
)
SNIFFED = 200
"""The number of files in a folder, of names that say nothing, whose heads are looked at."""
MAGIC = "*?["
ARRAY_MARK = "#"
"""What is between the name of a file and that of one of its arrays."""

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
    array: str | None = None
    """The one array of the file that is meant, where it has several."""


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
            place = f"{source.path}{ARRAY_MARK}{source.array or ''}"
            if place in found:
                say(f"skipped {source.uri}: it is {found[place].uri}, which is read already")
            else:
                found[place] = source
    return list(found.values())


def _sources_of_one(given: str, say: Say, apart: str | None) -> list[Source]:
    if dataset := dataset_of(given):
        urls = parquet_files(given, dataset)
        say(f"{given}: the split {dataset.split} of {dataset.name}, {len(urls):,} parquet files of the hub")
        return [_at_url(url) for url in urls]
    refuse_offline(given)
    try:
        fs, root = located(given)
        if fs.isfile(root):
            source = _source(fs, given, root, fs.info(root), given)
            _refuse_stand_in(fs, root, source)
            return [source]
        if fs.isdir(root):
            _refuse_run(fs, given, root)
            return _readable(fs, given, _under(fs, given.rstrip("/") or "/", root, say, apart), say)
        if any(character in given for character in MAGIC):
            return _readable(fs, given, _matching(fs, given, root, say, apart), say)
    except (ImportError, ValueError, OSError) as error:
        raise InputError(f"{given}: cannot be looked at: {error}") from error
    file, mark, array = given.rpartition(ARRAY_MARK)
    if mark and array and located(file)[0].isfile(located(file)[1]):
        return [_with_array(given, source, array) for source in _sources_of_one(file, say, apart)]
    names = [name.strip() for name in given.split(",")]
    separated = len(names) > 1 and all(map(_exists, names))
    hint = f"; inputs are separated by spaces: {' '.join(names)}" if separated else ""
    raise InputError(f"{given}: there is no such file or folder{hint}")


def _with_array(given: str, source: Source, array: str) -> Source:
    """Returns the source of one array of a file. InputError for a file that has no arrays with names."""
    fs, path = located(source.path)
    form = _head(fs, path, source)
    if form is None or not form.wrapped:
        raise InputError(
            f'{given}: the file has no arrays with names, such as {{"{array}": [...]}}; name the file alone'
        )
    return replace(source, uri=given, array=array)


def _exists(name: str) -> bool:
    return bool(name) and os.path.exists(name)


def _at_url(url: str) -> Source:
    fs, path = url_to_fs(url)
    try:
        return _source(fs, url, path, fs.info(path), url)
    except OSError as error:
        raise InputError(f"{url}: cannot be looked at: {error}") from error


def located(given: str) -> tuple[AbstractFileSystem, str]:
    """Returns the file system of an input and the path in it. What exists as a local path is one, whatever its name."""
    if os.path.lexists(given):
        return LocalFileSystem(), os.path.abspath(given)
    return url_to_fs(given)


def _refuse_run(fs: AbstractFileSystem, given: str, root: str) -> None:
    """InputError, with the file that can be read instead, for the output folder of a run."""
    if written_by(fs, root) == RUN:
        readable = [name for name in OUTPUTS if fs.exists(f"{root}/{name}")]
        instead = f"name what it holds: {given.rstrip('/')}/{readable[0]}" if readable else "it holds no records"
        raise InputError(f"{given} is {RUN}; {instead}")


def _readable(fs: AbstractFileSystem, given: str, files: list[tuple[str, Source]], say: Say) -> list[Source]:
    """Returns the files that hold records. One line on the screen names the others.

    files: each with its path in the file system.
    """
    readable, others, looked_at = [], [], 0
    for path, file in files:
        described = path.rsplit("/", 1)[-1] in DESCRIPTIONS
        known = bool(suffix_of(file.uri)) and not described
        if not known and not described and looked_at < SNIFFED:
            looked_at += 1
            known = _head(fs, path, file) is not None
        (readable if known else others).append(file)
    if others:
        say(f"skipped in {given}, files of other formats: {few([file.uri for file in others])}")
    if not readable:
        raise InputError(f"{given}: no file to read is there; {FORMATS}")
    return readable


def _head(fs: AbstractFileSystem, path: str, file: Source) -> Form | None:
    """Returns the form of a file by its head; None where it cannot be told, or where something stands in for data."""
    try:
        return form_of(fs.read_block(path, 0, HEAD_BYTES), file.uri)
    except FileFault:
        return None


def _refuse_stand_in(fs: AbstractFileSystem, path: str, file: Source) -> None:
    """InputError for a named file that is no data, by its head; other faults are reported when it is read."""
    try:
        form = form_of(fs.read_block(path, 0, HEAD_BYTES), file.uri)
    except FileFault as fault:
        raise InputError(f"{file.uri}: {fault.message}") from None
    if form is None:
        raise InputError(f"{file.uri}: neither its head nor its name says what is in it; {FORMATS}")


def _under(fs: AbstractFileSystem, uri: str, root: str, say: Say, apart: str | None) -> list[tuple[str, Source]]:
    """Returns all files under a folder except hidden ones and those that Winnow wrote, sorted by path."""
    listed = found_under(fs, root, uri, say) if isinstance(fs, LocalFileSystem) else fs.find(root, detail=True)
    found = cast(dict[str, dict[str, Any]], listed)
    ours = written_under(fs, root, found, apart)
    for folder, what in sorted(ours.items()):
        say(f"skipped {uri.rstrip('/')}{folder[len(root.rstrip('/')) :]}: it is {what}, not raw files")
    files = []
    for path in sorted(found):
        inner = path[len(root) :]
        if not any(part.startswith(".") for part in inner.split("/")) and not path.startswith(tuple(ours)):
            files.append((path, _source(fs, uri.rstrip("/") + "/" + inner.lstrip("/"), path, found[path])))
    return training_only(shards_only(fs, files, say), root, uri, say)


def _matching(fs: AbstractFileSystem, given: str, root: str, say: Say, apart: str | None) -> list[tuple[str, Source]]:
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
            files.append((path, _source(fs, uri, path, matches[path])))
    return files


def _source(fs: AbstractFileSystem, uri: str, path: str, info: dict[str, Any], opened_as: str | None = None) -> Source:
    stamp = next((f"{name}={info[name]}" for name in STAMPS if info.get(name) is not None), "")
    if not uri.isprintable() and any("\udc80" <= character <= "\udcff" for character in uri):
        raise InputError(f"{uri!r}: the file's name is not UTF-8; rename it")
    local = isinstance(fs, LocalFileSystem)
    resolved = os.path.realpath(path) if local else opened_as or fs.unstrip_protocol(path)
    return Source(uri, resolved, info.get("size"), stamp)
