"""Growing a pool by one round: samples are rewritten, the new instructions answered, and both put beside the old.

    <store>/pools/<prompts>/   a pool of the new instructions, whose responses are still empty; `respond` reads it
    <store>/pools/<grown>/     part-*.parquet (the new samples alone), lineage.parquet (id, parent, round), pool.json

A grown pool names the part files of its parent where they lie. Each step is found again by what it was made of: the
rewritings and the responses are features, and a pool is complete where its pool.json is.
"""

import hashlib
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
from jobs.engine.ingest.build import fetched
from jobs.engine.ingest.folder import Folder
from jobs.engine.ingest.parts import Shares, fingerprints
from jobs.engine.samples.folder import Samples, is_pool
from jobs.engine.terminal.errors import WinnowError
from jobs.engine.terminal.screen import say
from operators.asking.rewrite import asked_of
from operators.base import Operator, canonical_json

VERSION = 2
"""Raised when the same rewritings and responses make another pool than before."""

LINEAGE = pa.schema([("id", pa.int64()), ("parent", pa.int64()), ("round", pa.int64())])
COPIED = ("duplicates.parquet", "quarantine.jsonl")
BLOCK = 1 << 20


class Lineage(NamedTuple):
    """Where the samples of a pool come from."""

    parent: np.ndarray
    """The id of the sample that each was rewritten from, -1 for those there from the start; (n,) int64."""
    round: np.ndarray
    """The round that each was added in, 0 for those there from the start; (n,) int64."""


def lineage(samples: Samples) -> Lineage:
    """Parent and round of every sample of a pool, grown or not."""
    found = Lineage(np.full(samples.samples, -1, np.int64), np.zeros(samples.samples, np.int64))
    if samples.facts.get("rounds"):
        with Folder(samples.folder).reading("lineage.parquet") as file:
            table = pq.read_table(file)
        ids = table["id"].to_numpy()
        found.parent[ids], found.round[ids] = table["parent"].to_numpy(), table["round"].to_numpy()
    return found


def grown(samples: Samples, session: Session, rewrite: Operator, respond: Operator, ids: np.ndarray) -> Samples:
    """All the samples with their ids, and after them the new ones of one round, made of those with these ids."""
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
    identity = {"respond": respond.fingerprint(), "answered": _digest(answered.ids), "counts": counts, "round": number}
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
    return hashlib.sha256(canonical_json({"version": VERSION, **identity}).encode()).hexdigest()


def _digest(ids: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(ids, np.int64).tobytes()).hexdigest()


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
    """The pool of the new instructions, in the order of the samples that they come from."""
    # Samples with the same contents can have other records, which the new ones take their fields from.
    known = samples.facts
    parent = {"fingerprint": known["fingerprint"], "folder": samples.folder, "key": known.get("key", "")}
    key = _key({"prompts": parent, "rewrite": rewrite.fingerprint(), "rewritten": _digest(rewritten.ids)})
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
    """Writes the grown pool, pool.json last; `parents` are the ids that the prompts were made of, by their place."""
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
    """Raises where a sample was lost on the way."""
    sums = {
        "asked": counts["rewritten"] + sum(counts["not_rewritten"].values()),
        "rewritten": counts["answered"] + sum(counts["not_answered"].values()),
        "answered": counts["repeats"] + counts["added"],
    }
    for step, total in sums.items():
        if counts[step] != total:
            raise WinnowError(f"the round does not add up: {counts[step]:,} {step}, {total:,} accounted for: {counts}")


def _fresh(parts: list[dict[str, Any]], shas: np.ndarray) -> tuple[np.ndarray, list[Shares]]:
    """Which of the new samples say what neither the parts nor an earlier one says, by the hashes of what they say.

    Their other fields are their parents', so that these make no difference here. Also the parts' shares of their
    pool's fingerprints, for which the same hashes are read.
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
    """A part's shares of the fingerprints, and the first place of each of its texts that is among these (ascending)."""
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
    """The rounds before, and this one."""
    before = lineage(samples)
    earlier = np.flatnonzero(before.round)
    ids = np.arange(samples.samples, samples.samples + len(parents))
    columns = [
        np.concatenate([earlier, ids]),
        np.concatenate([before.parent[earlier], parents]),
        np.concatenate([before.round[earlier], np.full(len(ids), len(samples.facts.get("rounds", ())) + 1)]),
    ]
    with folder.writing("lineage.parquet") as file:
        pq.write_table(pa.Table.from_arrays([pa.array(column) for column in columns], schema=LINEAGE), file)
