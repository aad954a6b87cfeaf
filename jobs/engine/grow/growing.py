"""Grows a pool by one round: models rewrite samples and answer the new instructions, and both join the old samples.

    <store>/pools/<prompts>/   a pool of the new instructions, whose responses are still empty; `respond` reads it
    <store>/pools/<grown>/     part-*.parquet (only the new samples), lineage.parquet (id, parent, round), pool.json

A grown pool refers to the part files of its parent by their paths. A repeated run finds each finished step in the
store: the rewritten instructions and the responses are features, and a pool is complete when it has a pool.json.
"""

import json
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray

from jobs.engine.execute.mapping import mapped
from jobs.engine.execute.session import Session
from jobs.engine.grow.new_samples import SHA, Made, NewSamples, made
from jobs.engine.ingest.parts import Shares, fingerprints
from jobs.engine.ingest.tasks import fetched
from jobs.engine.samples.pool_folder import Samples, is_pool
from jobs.engine.samples.runs import ids_digest
from jobs.engine.store.folder import Folder
from jobs.engine.terminal.errors import WinnowError
from jobs.engine.terminal.screen import say
from operators.asking.rewrite import asked_of
from operators.base import Operator, canonical_digest

VERSION = 2
"""Increased when the code makes another pool from the same rewritten instructions and responses."""

LINEAGE = pa.schema([("id", pa.int64()), ("parent", pa.int64()), ("round", pa.int64())])
COPIED = ("duplicates.parquet", "quarantine.jsonl")
BLOCK = 1 << 20


class Lineage(NamedTuple):
    """Where the samples of a pool come from."""

    parent: np.ndarray
    """The id of the sample that each sample was rewritten from, -1 for the original samples; (n,) int64."""
    round: np.ndarray
    """The round in which each sample was added, 0 for the original samples; (n,) int16."""


def lineage(samples: Samples) -> Lineage:
    """The parent and the round of every sample of a pool, whether it was grown or not."""
    found = Lineage(np.full(samples.samples, -1, np.int64), np.zeros(samples.samples, np.int16))
    if samples.facts.get("rounds"):
        with Folder(samples.folder).reading("lineage.parquet") as file:
            table = pq.read_table(file)
        ids = table["id"].to_numpy()
        found.parent[ids], found.round[ids] = table["parent"].to_numpy(), table["round"].to_numpy()
    return found


def grown(samples: Samples, session: Session, rewrite: Operator, respond: Operator, ids: np.ndarray) -> Samples:
    """The samples of a pool with the same ids, followed by the new samples of one round.

    ids: the samples to rewrite, ascending. OverErrorBudget where too many samples fail in `rewrite` or `respond`;
    WinnowError where the counts of the round do not add up.
    """
    began = time.monotonic()
    rewritings, _ = mapped(samples, session, "rewrite", rewrite, ids)
    rewritten = made(rewritings, ids)
    prompts = _prompts(samples, session.store.url, rewrite, rewritten)
    instructions = np.arange(prompts.samples)
    responses, _ = mapped(prompts, session, "respond", respond, instructions)
    answered = made(responses, instructions)
    counts = {
        "asked": len(ids),
        "rewritten": len(rewritten.ids),
        "not_rewritten": dict(rewritten.lost),
        "answered": len(answered.ids),
        "not_answered": dict(answered.lost),
    }
    number = len(samples.facts.get("rounds", ())) + 1
    identity = {
        "respond": respond.fingerprint(),
        "answered": ids_digest(answered.ids),
        "counts": counts,
        "round": number,
    }
    key = _key({"grown": prompts.facts["key"], **identity})
    folder = _folder(session.store.url, key)
    if not is_pool(folder.url):
        new = NewSamples(prompts.parts, answered, _answer, _columns(samples))
        _build(folder, key, samples, new, rewritten.ids, counts)
    larger = Samples.open(folder.url)
    counts = larger.facts["rounds"][-1]
    say(
        f"grow: round {number}: of {counts['asked']:,} samples {counts['rewritten']:,} rewritten and "
        f"{counts['answered']:,} answered; {counts['repeats']:,} repeats, {counts['added']:,} added"
    )
    seconds = round(time.monotonic() - began, 2)
    session.log.append({"grow": f"round {number}", "samples": len(ids), **counts, "seconds": seconds})
    return larger


def _key(identity: Mapping[str, Any]) -> str:
    return canonical_digest({"version": VERSION, **identity})


def _folder(store: str, key: str) -> Folder:
    return Folder(f"{store}/pools/{key[:16]}")


def _columns(samples: Samples) -> dict[str, str]:
    return samples.facts.get("settings", {}).get("columns", {})


def _prompt(row: Mapping[str, Any], value: Mapping[str, Any]) -> tuple[str, str, str]:
    return value["instruction"], value["input"], ""


def _answer(row: Mapping[str, Any], value: Mapping[str, Any]) -> tuple[str, str, str]:
    asked = asked_of(row["messages"], row["raw"])
    return asked.instruction, asked.input, value["response"]


def _prompts(samples: Samples, store: str, rewrite: Operator, rewritten: Made) -> Samples:
    """The pool of the new instructions, in the order of the samples that they were rewritten from."""
    # The new samples take their other fields from the parents' records, which can differ where the contents are equal.
    known = samples.facts
    parent = {"fingerprint": known["fingerprint"], "folder": samples.folder, "key": known.get("key", "")}
    key = _key({"prompts": parent, "rewrite": rewrite.fingerprint(), "rewritten": ids_digest(rewritten.ids)})
    folder, size = _folder(store, key), len(rewritten.ids)
    if not is_pool(folder.url):
        folder.make()
        new = NewSamples(samples.parts, rewritten, _prompt, _columns(samples))
        parts, shares = new.write(folder, rewritten.ids, 0)
        facts = {"winnow_pool": 1, "records": size, "samples": size, "duplicates": 0, "quarantined": 0, "sources": [],
                 "examples": {}, "settings": samples.facts.get("settings", {})}  # fmt: skip
        _finish(folder, {**facts, **fingerprints(size, shares), "parts": parts, "key": key})
    return Samples.open(folder.url)


def _build(
    folder: Folder, key: str, samples: Samples, new: NewSamples, parents: np.ndarray, counts: Mapping[str, Any]
) -> None:
    """Writes the grown pool, pool.json last.

    parents: the id of the sample that each prompt was rewritten from, by the id of the prompt.
    """
    folder.make()
    held = [{**part, "file": samples.parts.path(part["file"])} for part in samples.facts["parts"]]
    fresh, shares = _fresh(held, new.shas())
    ids = new.made.ids[fresh]
    counts = {**counts, "repeats": len(new.made.ids) - len(ids), "added": len(ids)}
    _check(counts)
    parts, more = new.write(folder, ids, samples.samples)
    fetched([_copied.remote(Folder(samples.folder), folder, name) for name in COPIED])
    _write_lineage(folder, samples, parents[ids])
    size = samples.samples + len(ids)
    facts = {
        **samples.facts,
        "samples": size,
        "records": samples.facts["records"] + len(ids),
        **fingerprints(size, [*shares, *more]),
        "parts": [*held, *parts],
        "key": key,
        "rounds": [*samples.facts.get("rounds", ()), counts],
    }
    _finish(folder, facts)


def _finish(folder: Folder, facts: Mapping[str, Any]) -> None:
    with folder.writing("pool.json") as file:
        file.write(json.dumps(facts, ensure_ascii=False, indent=1).encode())


def _check(counts: Mapping[str, Any]) -> None:
    """Raises WinnowError where the counts of a step do not add up, so that a sample was lost."""
    sums = {
        "asked": counts["rewritten"] + sum(counts["not_rewritten"].values()),
        "rewritten": counts["answered"] + sum(counts["not_answered"].values()),
        "answered": counts["repeats"] + counts["added"],
    }
    for step, total in sums.items():
        if counts[step] != total:
            raise WinnowError(f"the round does not add up: {counts[step]:,} {step}, {total:,} accounted for: {counts}")


def _fresh(parts: list[dict[str, Any]], shas: np.ndarray) -> tuple[np.ndarray, list[Shares]]:
    """Which new samples repeat no sample of the parts and no earlier new one, by the hashes of their messages.

    Other fields do not count, because the new samples take them from their parents. Returns (new,) bool, and the
    parts' shares of the pool's fingerprints, which need the same hashes.
    """
    order = np.argsort(shas, kind="stable")
    in_order = ray.put(shas[order])
    fresh = np.ones(len(shas), bool)
    fresh[order[1:]] = shas[order[1:]] != shas[order[:-1]]
    compared = fetched([_compared.remote(part, in_order) for part in parts])
    for _, found in compared:
        fresh[order[found]] = False
    return fresh, [share for share, _ in compared]


@ray.remote(num_cpus=1)
def _compared(part: dict[str, Any], shas: np.ndarray) -> tuple[Shares, np.ndarray]:
    """A part's shares of the fingerprints, and the positions in `shas` (ascending) of the hashes that the part has.

    The position of a hash that occurs several times is that of the first.
    """
    with fsspec.open(part["file"], "rb") as file:
        held = pq.ParquetFile(file).read(columns=["sha", "text_sha"])
    own = np.array(held["text_sha"].to_pylist(), SHA)
    places = np.searchsorted(shas, own)
    inside = places < len(shas)
    same = inside.copy()
    same[inside] = shas[places[inside]] == own[inside]
    return Shares.of(part["first"], held), places[same]


@ray.remote(num_cpus=1)
def _copied(source: Folder, destination: Folder, name: str) -> None:
    with source.reading(name) as file, destination.writing(name) as out:
        while block := file.read(BLOCK):
            out.write(block)


def _write_lineage(folder: Folder, samples: Samples, parents: np.ndarray) -> None:
    """Writes the parents and rounds of the samples of all earlier rounds and of this one."""
    before = lineage(samples)
    earlier = np.flatnonzero(before.round)
    ids = np.arange(samples.samples, samples.samples + len(parents))
    columns = [
        np.concatenate([earlier, ids]),
        np.concatenate([before.parent[earlier], parents]),
        np.concatenate([before.round[earlier], np.full(len(ids), len(samples.facts.get("rounds", ())) + 1)]),
    ]
    with folder.writing("lineage.parquet") as file:
        pq.write_table(pa.Table.from_arrays([pa.array(column, pa.int64()) for column in columns], schema=LINEAGE), file)
