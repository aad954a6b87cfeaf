"""The ingest itself: passes of Ray tasks over splits of the inputs, and pool.json at the end.

The driver holds only names and counts. A task that runs twice writes the same files again.
"""

import hashlib
import json
import re
import uuid
from collections.abc import Sequence
from functools import partial
from itertools import chain
from typing import Any

from jobs.engine.ingest.before import LeftOut, Steps, leave_out
from jobs.engine.ingest.before.contamination import test_files
from jobs.engine.ingest.before.mix import parts_of
from jobs.engine.ingest.dedup import (
    DUPLICATES,
    KEY_FILES,
    NEAR_DUPLICATES,
    Placed,
    Placements,
    find_repeats,
    groups_of,
    mark_repeats,
    partitions_of,
    repeats_name,
    sort_keys,
    write_duplicates,
)
from jobs.engine.ingest.faults import InputError
from jobs.engine.ingest.files.arrays import by_array
from jobs.engine.ingest.files.inputs import Say, Source, silent, sources_of
from jobs.engine.ingest.files.splits import Split, splits_of
from jobs.engine.ingest.findings import described, say_findings
from jobs.engine.ingest.parse import Parsed, left_out_name, parse_split, quarantine_name
from jobs.engine.ingest.parts import Shares, batches_of, fingerprints, join_quarantine, write_parts
from jobs.engine.ingest.settings import IngestSettings
from jobs.engine.ingest.tasks import Tasks, fetched
from jobs.engine.store.folder import Folder
from jobs.engine.store.lock_file import NAME as LOCK
from jobs.engine.store.runs import few
from jobs.engine.store.writing import UNFINISHED
from jobs.engine.terminal.errors import UsageError
from jobs.engine.terminal.place_errors import regardless
from operators.base import canonical_json

VERSION = 6
"""Raise it when the same inputs and settings make a different pool than before."""

TEMPORARY = ".tmp-"
OTHER_FILES = ("pool.json", "duplicates.parquet", "quarantine.jsonl")
"""The files of a pool besides its parts."""


def ingest_key(inputs: Sequence[str], settings: IngestSettings, say: Say = silent, *, apart: str | None = None) -> str:
    """Returns the key, in hex, of the pool that these inputs would make now.

    It is a hash of the files with their sizes and stamps, and of the settings. InputError for an input that cannot be
    read, or that the mix names wrongly. apart: a folder that is not read although it may lie inside an input, such as
    the store.
    """
    return _key(sources_of(inputs, say, apart), settings)


def _key(sources: Sequence[Source], settings: IngestSettings) -> str:
    parts_of(settings.mix, sources)
    identity = {"version": VERSION, "settings": settings.semantics(), "files": _listed(sources)}
    if tests := test_files(settings):
        identity["tests"] = _listed(tests)
    return hashlib.sha256(canonical_json(identity).encode()).hexdigest()


def _listed(sources: Sequence[Source]) -> list[list[Any]]:
    return [[source.uri, source.path, source.size, source.stamp] for source in sources]


def ingest(
    inputs: Sequence[str], destination: str, *, settings: IngestSettings, say: Say, apart: str | None = None
) -> dict[str, Any]:
    """Writes a pool of the inputs' samples and returns the content of its pool.json. Ray must be initialised.

    InputError for an input that cannot be read, or that the pool would lie in. apart: as in `ingest_key`.
    """
    sources = sources_of(inputs, say, apart)
    parts_of(settings.mix, sources)
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


def refuse_foreign(pool: Folder) -> None:
    """UsageError if the folder for a pool has files that no ingest wrote."""
    locks = re.compile(rf"{re.escape(LOCK)}|lock-.*\.taken")
    if others := [name for name in pool.names() if not (_is_of_a_pool(name) or locks.fullmatch(name))]:
        raise UsageError(f"{pool} is not empty and holds no pool, but {others[0]}; give another --out")


def _is_of_a_pool(name: str) -> bool:
    part = name.startswith("part-") and name.endswith(".parquet")
    return part or name.startswith(TEMPORARY) or bool(UNFINISHED.fullmatch(name)) or name in OTHER_FILES


def _clean(pool: Folder) -> None:
    """Removes the files of an earlier ingest, pool.json first: without it a folder is no pool."""
    for name in sorted(pool.names(), key=lambda name: name != "pool.json"):
        if _is_of_a_pool(name):
            pool.remove(name)


def _ingested(
    given: Sequence[Source], pool: Folder, interim: Folder, settings: IngestSettings, tasks: Tasks
) -> dict[str, Any]:
    sources = by_array(given, settings, tasks.results, tasks.say)
    splits = splits_of(sources, settings.split_bytes)
    calls = [(split, number, settings, interim) for number, split in enumerate(splits)]
    parsed: list[Parsed] = tasks.results("read", parse_split, calls)
    placed = _placed(splits, parsed)
    full = Placements(tuple(split for split in placed if split.samples))
    partitions = partitions_of(full.samples)
    calls = [(splits, number, interim) for number, splits in enumerate(groups_of(full))]
    keys = list(chain.from_iterable(tasks.results("sorted", sort_keys, calls)))
    keys = few(interim, keys, "head", partial(tasks.results, "merged"), KEY_FILES)
    calls = [(keys, number, bounds, interim) for number, bounds in enumerate(partitions)]
    tasks.results("compared", find_repeats, calls)
    names = [repeats_name(number) for number in range(len(partitions))]
    marks, counted = tasks.started(mark_repeats, full, names, interim, returns=2)
    if settings.leaves_out:
        steps = Steps(sources, [split.source for split in splits], full, settings, interim, tasks)
        left_out = leave_out(steps, names, marks)
    else:
        left_out = LeftOut(names, marks, fetched(counted), {})

    quarantined = tasks.started(join_quarantine, _refused(placed, parsed, left_out), interim, pool)
    schema = DUPLICATES if settings.near_duplicates is None else NEAR_DUPLICATES
    duplicates = tasks.started(write_duplicates, full, left_out.marks, left_out.repeats, schema, interim, pool)
    batches = batches_of(full, left_out.counts())
    calls = [(batch, left_out.marks, interim, pool) for batch in batches]
    written: list[tuple[int, Shares]] = tasks.results("wrote", write_parts, calls)
    found = described(sources, splits, parsed, left_out, settings)
    found |= {
        **fingerprints(found["samples"], [shares for _, shares in written]),
        "parts": [part for batch in batches for part in batch.parts()],
        "key": _key(given, settings),
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


def _refused(placed: Sequence[Placed], parsed: Sequence[Parsed], left_out: LeftOut) -> list[tuple[Placed, list[str]]]:
    """Returns the splits with quarantined records, each with the names of the interim files that hold these."""
    files = []
    for split, part in zip(placed, parsed, strict=True):
        names = [quarantine_name(split.number)] if part.kinds else []
        names += [left_out_name(split.number)] if split.number in left_out.aside else []
        if names:
            files.append((split, names))
    return files


def _check(found: dict[str, Any], written: int, duplicates: int, quarantined: int) -> None:
    """RuntimeError where a record was lost between the passes."""
    outcome = {"samples": written, "duplicates": duplicates, "quarantined": quarantined}
    for state, count in outcome.items():
        if found[state] != count:
            raise RuntimeError(f"ingest lost records: {found[state]:,} {state} were counted, {count:,} were written")
    if found["records"] != sum(outcome.values()):
        raise RuntimeError(f"ingest lost records: {found['records']:,} were read, {sum(outcome.values()):,} are there")
