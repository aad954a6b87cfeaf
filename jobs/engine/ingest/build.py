"""The ingest itself: three passes of Ray tasks over splits of the inputs, and pool.json at the end.

The driver holds only names and counts. A task that runs twice writes the same files again.
"""

import hashlib
import json
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import ray
from ray.exceptions import RayTaskError

from jobs.engine.ingest.dedup import Placed, Placements, find_repeats, mark_repeats, partitions_of, write_duplicates
from jobs.engine.ingest.faults import InputError
from jobs.engine.ingest.files.inputs import Say, Source, silent, sources_of
from jobs.engine.ingest.files.splits import Split, splits_of
from jobs.engine.ingest.findings import described, say_findings
from jobs.engine.ingest.folder import Folder
from jobs.engine.ingest.parse import Parsed, parse_split
from jobs.engine.ingest.parts import Shares, batches_of, fingerprints, join_quarantine, write_parts
from jobs.engine.ingest.settings import IngestSettings
from jobs.engine.store.writing import UNFINISHED
from operators.base import canonical_json

VERSION = 3
"""Raise it when the same inputs and settings make a different pool than before."""

PROGRESS_SECONDS = 30
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
    tasks = _Tasks(settings.task_cpus, say)
    try:
        return _ingested(sources, pool, interim, settings, tasks)
    finally:
        tasks.stop()
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
    sources: Sequence[Source], pool: Folder, interim: Folder, settings: IngestSettings, tasks: "_Tasks"
) -> dict[str, Any]:
    splits = splits_of(sources, settings.split_bytes)
    calls = ((split, number, settings, interim) for number, split in enumerate(splits))
    parsed: list[Parsed] = tasks.results("read", parse_split, calls, len(splits))
    placed = _placed(splits, parsed)
    refused = [split for split, part in zip(placed, parsed, strict=True) if part.kinds]
    quarantined = tasks.started(join_quarantine, refused, interim, pool)

    full = Placements(tuple(split for split in placed if split.samples))
    partitions = partitions_of(full.samples)
    calls = ((full, number, bounds, interim) for number, bounds in enumerate(partitions))
    tasks.results("compared", find_repeats, calls, len(partitions))
    marks, counted = tasks.started(mark_repeats, full, len(partitions), interim, returns=2)
    duplicates = tasks.started(write_duplicates, full, marks, len(partitions), interim, pool)
    repeats: dict[int, int] = fetched(counted)

    batches = batches_of(full, repeats)
    calls = ((batch, marks, interim, pool) for batch in batches)
    written: list[tuple[int, Shares]] = tasks.results("wrote", write_parts, calls, len(batches))
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


def fetched(reference: Any) -> Any:
    """Returns the result of a task. An OSError of the task is raised as it was, with its path."""
    try:
        return ray.get(reference)
    except RayTaskError as error:
        if isinstance(error.cause, OSError):
            raise error.cause from error
        raise


class _Tasks:
    """Starts tasks, a limited number at a time, and prints their progress."""

    def __init__(self, cpus: float, say: Say):
        self.cpus, self.say = cpus, say
        self.alone: list[Any] = []

    def started(self, function: Callable, *arguments: Any, returns: int = 1) -> Any:
        """Starts one task. Returns the reference to its result, or the references to its results."""
        references = ray.remote(num_cpus=self.cpus, num_returns=returns)(function).remote(*arguments)
        self.alone.append(references[0] if isinstance(references, list) else references)
        return references

    def stop(self) -> None:
        """Cancels the tasks that still run: after a failure the folder that they write to is removed."""
        _stopped(self.alone)

    def results(self, verb: str, function: Callable, calls: Iterable[tuple], count: int) -> list[Any]:
        """Runs one task per call. Returns the results in the order of the calls."""
        waiting: dict[Any, int] = {}
        done: dict[int, Any] = {}
        said = time.monotonic()
        following = iter(enumerate(calls))
        remote = ray.remote(num_cpus=self.cpus)(function)
        try:
            while self._start(remote, following, waiting):
                ready, _ = ray.wait(list(waiting), timeout=PROGRESS_SECONDS)
                for reference in ready:
                    done[waiting.pop(reference)] = fetched(reference)
                if time.monotonic() - said > PROGRESS_SECONDS:
                    said = time.monotonic()
                    self.say(f"{verb} {len(done):,} of {count:,} pieces")
        finally:
            _stopped(list(waiting))
        return [done[number] for number in range(len(done))]

    def _start(self, remote: Any, calls: Iterator[tuple[int, tuple]], waiting: dict[Any, int]) -> bool:
        """Starts tasks up to twice the number of CPUs, so that an autoscaler sees work that waits."""
        room = max(4, int(2 * ray.cluster_resources().get("CPU", 1) / max(self.cpus, 0.01)))
        while len(waiting) < room and (following := next(calls, None)):
            number, arguments = following
            waiting[remote.remote(*arguments)] = number
        return bool(waiting)


def _stopped(references: list[Any]) -> None:
    for reference in references:
        ray.cancel(reference)
    if references:
        ray.wait(references, num_returns=len(references), timeout=PROGRESS_SECONDS)
