"""The arrays of a file that has several, such as {"train": [...], "test": [...]}: each is a source of its own."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain
from typing import Any

from jobs.engine.ingest.faults import FileFault, InputError
from jobs.engine.ingest.files.elements import Elements
from jobs.engine.ingest.files.forms import HEAD_BYTES, Form, decompressed_text, form_of, suffix_of
from jobs.engine.ingest.files.held_out import training_only
from jobs.engine.ingest.files.inputs import ARRAY_MARK, Say, Source
from jobs.engine.ingest.files.streams import BLOCK, file_at
from jobs.engine.ingest.settings import IngestSettings

READERS = 16
OTHERS = (".parquet", ".arrow", ".feather", ".csv", ".tsv", ".tar")

Run = Callable[[str, Callable, Sequence[tuple]], list[Any]]
"""Runs a function on workers, once per tuple of arguments."""


def by_array(sources: Sequence[Source], settings: IngestSettings, run: Run, say: Say) -> list[Source]:
    """Returns the sources, with one for each array of a file that has several, named as data.json#train.

    Of a file with an array for training, those for tests are left out, and a line says so. InputError for an array that
    was named and is not there.
    """
    with ThreadPoolExecutor(READERS) as threads:
        forms = list(threads.map(_form, sources))
    places = [place for place, form in enumerate(forms) if form]
    found = run("looked for arrays in", arrays_in, [(sources[place], settings) for place in places])
    arrays = dict(zip(places, found, strict=True))
    return [each for place, source in enumerate(sources) for each in _apart(source, arrays.get(place, ()), say)]


def _form(source: Source) -> Form | None:
    """Returns the form of a file whose head is an object that wraps arrays; None for other files."""
    if suffix_of(source.uri).startswith(OTHERS):
        return None
    try:
        with file_at(source.path) as file:
            form = form_of(file.read(HEAD_BYTES), source.uri)
    except (OSError, FileFault):
        return None  # the task that reads the file reports what is wrong with it
    return form if form and form.wrapped else None


def arrays_in(source: Source, settings: IngestSettings) -> list[str]:
    """Returns the names of the arrays with records in a file, in its order."""
    with file_at(source.path) as file:
        first = file.read(HEAD_BYTES)
        form = form_of(first, source.uri)
        if form is None or not form.wrapped:
            return []
        blocks = chain([first], iter(lambda: file.read(BLOCK), b""))
        elements = Elements(decompressed_text(blocks, form, settings.max_expansion), settings.max_record_bytes)
        for _ in elements:
            pass
        return list(elements.arrays)


def _apart(source: Source, arrays: Sequence[str], say: Say) -> list[Source]:
    if source.array is not None:
        if source.array not in arrays:
            there = f"; those in the file are {', '.join(arrays)}" if arrays else ""
            raise InputError(f"{source.uri}: there is no array of this name{there}")
        return [source]
    if len(arrays) < 2:
        return [source]
    named = [(f"/{name.replace('.', '/')}.", name) for name in arrays]
    kept = [name for _, name in training_only(named, "/", source.uri, lambda _: None)]
    if left := [name for name in arrays if name not in kept]:
        uris = " ".join(f"{source.uri}{ARRAY_MARK}{name}" for name in left)
        say(f"skipped in {source.uri}: the arrays for tests, as there is one for training; to read them name {uris}")
    say(f"{source.uri}: read {', '.join(kept)}, an array each")
    return [replace(source, uri=f"{source.uri}{ARRAY_MARK}{name}", array=name) for name in kept]
