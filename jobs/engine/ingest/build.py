"""The ingest itself: three passes of Ray tasks over splits of the inputs, and pool.json at the end.

The driver holds only names and counts. A task that runs twice writes the same files again.
"""

import hashlib
import json
import uuid
from collections.abc import Sequence
from functools import partial
from itertools import chain
from typing import Any

from jobs.engine.ingest.dedup import (
    KEY_FILES,
    Placed,
    Placements,
    find_repeats,
    groups_of,
    mark_repeats,
    partitions_of,
    sort_keys,
    write_duplicates,
)
from jobs.engine.ingest.faults import InputError
from jobs.engine.ingest.files.inputs import Say, Source, silent, sources_of
from jobs.engine.ingest.files.splits import Split, splits_of
from jobs.engine.ingest.findings import described, say_findings
from jobs.engine.ingest.parse import Parsed, parse_split
from jobs.engine.ingest.parts import Shares, batches_of, fingerprints, join_quarantine, write_parts
from jobs.engine.ingest.settings import IngestSettings
from jobs.engine.ingest.tasks import Tasks, fetched
from jobs.engine.store.folder import Folder
from jobs.engine.store.runs import few
from jobs.engine.store.writing import UNFINISHED
from jobs.engine.terminal.place_errors import regardless
from operators.base import canonical_json

VERSION = 3
"""Raise it when the same inputs and settings make a different pool than before."""

TEMPORARY = ".tmp-"
OTHER_FILES = ("pool.json", "duplicates.parquet", "quarantine.jsonl")
"""The files of a pool besides its parts."""


def ingest_key(inputs: Sequence[str], settings: IngestSettings, say: Say = silent, *, apart: str | None = None) -> str:
    """Returns the key, in hex, of the pool that these inputs would make now.

    It is a hash of the files with their sizes and stamps, and of the settings. InputError for an input that cannot be
    read. apart: a folder that is not read although it may lie inside an input, such as the store.
    """
    return _key(sources_of(inputs, say, apart), settings)


def _key(sources: Sequence[Source], settings: IngestSettings) -> str:
    files = [[source.uri, source.path, source.size, source.stamp] for source in sources]
    identity = {"version": VERSION, "settings": settings.semantics(), "files": files}
    return hashlib.sha256(canonical_json(identity).encode()).hexdigest()


def ingest(
    inputs: Sequence[str], destination: str, *, settings: IngestSettings, say: Say, apart: str | None = None
) -> dict[str, Any]:
    """Writes a pool of the inputs' samples and returns the content of its pool.json. Ray must be initialised.

    InputError for an input that cannot be read, or that the pool would lie in. apart: as in `ingest_key`.
    """
    sources = sources_of(inputs, say, apart)
    pool = Folder.at(destination)
    if apart is None or not destination.startswith(apart.rstrip("/") + "/"):
        _refuse_inside(pool, inputs)
    pool.make()
    _clean(pool)
    interim = pool.inner(TEMPORARY + uuid.uuid4().hex[:12])
    interim.make()
    tasks = Tasks(settings.task_cpus, say)
    try:
        return _ingested(sources, pool, interim, settings, tasks)
    finally:
        tasks.stop()
        with regardless():
            interim.remove()


def _refuse_inside(pool: Folder, inputs: Sequence[str]) -> None:
    """InputError for a pool inside one of its inputs: the next ingest would read it. Hidden folders are never read."""
    _, place = pool.opened()
    for given in inputs:
        _, folder = Folder.at(given).opened()
        inner = (place + "/").removeprefix(folder.rstrip("/") + "/")
        if inner != place + "/" and not any(name.startswith(".") for name in inner.split("/")):
            raise InputError(f"{given}: the pool would lie inside this input ({place}); name another destination")


def _clean(pool: Folder) -> None:
    """Removes the files of an earlier ingest, pool.json first: without it a folder is no pool."""
    names = pool.names()
    for name in sorted(names, key=lambda name: name != "pool.json"):
        part = name.startswith("part-") and name.endswith(".parquet")
        if part or name.startswith(TEMPORARY) or UNFINISHED.fullmatch(name) or name in OTHER_FILES:
            pool.remove(name)


def _ingested(
    sources: Sequence[Source], pool: Folder, interim: Folder, settings: IngestSettings, tasks: Tasks
) -> dict[str, Any]:
    splits = splits_of(sources, settings.split_bytes)
    calls = [(split, number, settings, interim) for number, split in enumerate(splits)]
    parsed: list[Parsed] = tasks.results("read", parse_split, calls)
    placed = _placed(splits, parsed)
    refused = [split for split, part in zip(placed, parsed, strict=True) if part.kinds]
    quarantined = tasks.started(join_quarantine, refused, interim, pool)

    full = Placements(tuple(split for split in placed if split.samples))
    partitions = partitions_of(full.samples)
    calls = [(splits, number, interim) for number, splits in enumerate(groups_of(full))]
    keys = list(chain.from_iterable(tasks.results("sorted", sort_keys, calls)))
    keys = few(interim, keys, "head", partial(tasks.results, "merged"), KEY_FILES)
    calls = [(keys, number, bounds, interim) for number, bounds in enumerate(partitions)]
    tasks.results("compared", find_repeats, calls)
    marks, counted = tasks.started(mark_repeats, full, len(partitions), interim, returns=2)
    duplicates = tasks.started(write_duplicates, full, marks, len(partitions), interim, pool)
    repeats: dict[int, int] = fetched(counted)

    batches = batches_of(full, repeats)
    calls = [(batch, marks, interim, pool) for batch in batches]
    written: list[tuple[int, Shares]] = tasks.results("wrote", write_parts, calls)
    found = described(sources, splits, parsed, repeats, settings)
    found |= {
        **fingerprints(found["samples"], [shares for _, shares in written]),
        "parts": [part for batch in batches for part in batch.parts()],
        "key": _key(sources, settings),
    }
    _check(found, sum(rows for rows, _ in written), fetched(duplicates), fetched(quarantined))
    with pool.writing("pool.json") as file:
        file.write(json.dumps(found, ensure_ascii=False, indent=1).encode())
    say_findings(found, pool.url, tasks.say)
    return found


def _placed(splits: Sequence[Split], parsed: Sequence[Parsed]) -> list[Placed]:
    """Returns the splits, each with the position of its first sample and the number of lines before it."""
    placed, position, lines, source = [], 0, 0, -1
    for number, (split, part) in enumerate(zip(splits, parsed, strict=True)):
        lines = lines if split.source == source else 0
        placed.append(Placed(number, split.uri, part.samples, position, lines))
        position, lines, source = position + part.samples, lines + part.lines, split.source
    return placed


def _check(found: dict[str, Any], written: int, duplicates: int, quarantined: int) -> None:
    """RuntimeError where a record was lost between the passes."""
    outcome = {"samples": written, "duplicates": duplicates, "quarantined": quarantined}
    for state, count in outcome.items():
        if found[state] != count:
            raise RuntimeError(f"ingest lost records: {found[state]:,} {state} were counted, {count:,} were written")
    if found["records"] != sum(outcome.values()):
        raise RuntimeError(f"ingest lost records: {found['records']:,} were read, {sum(outcome.values()):,} are there")
