"""What the report compares the kept samples and their pool by: lengths, turns, source, format and script."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from jobs.engine.ingest import RecordFault, messages_of
from jobs.engine.outcome.outcome import Outcome
from jobs.engine.pool.pool import Pool
from jobs.engine.pool.selection import Selection
from jobs.engine.samples.parts import read_samples
from jobs.engine.store.store import ERROR
from operators.sample import Message, instruction, joined, response, turns
from operators.scripts import script
from operators.unknown import UNREADABLE

LOOKED_AT = 20_000
LARGEST_FIRST = 12


@dataclass(frozen=True)
class Measures:
    """The samples that were looked at and what was measured of them; arrays aligned with one another."""

    of_pool: np.ndarray
    """Which of them stand for the pool."""
    of_kept: np.ndarray
    """Which of them stand for the kept samples."""
    instruction: np.ndarray
    """Characters the user wrote."""
    response: np.ndarray
    """Characters the assistant wrote."""
    labels: Mapping[str, np.ndarray]
    """Labels by what the report calls them: source file, format, script, turns."""
    unreadable: np.ndarray
    """Which of them the tokenizer of some column's model could not read."""


class Share(NamedTuple):
    """How often a label occurs, as shares of the samples looked at, and how many of its samples were not read."""

    label: str
    pool: float
    kept: float
    unreadable: float
    """Of the label's own samples in the pool, the share that a model could not read."""


def measures(outcome: Outcome) -> Measures:
    """The measures of a seeded random choice of the pool and of the kept, at most LOOKED_AT of each."""
    pool, kept = outcome.pool, outcome.selection.ids
    random = np.random.default_rng(outcome.manifest["run"]["fields"].get("seed", 0))
    of_pool = _drawn(random, pool.samples)
    of_kept = kept[_drawn(random, len(kept))]
    ids = np.union1d(of_pool, of_kept)
    known = _formats(pool)
    columns = ["source", "messages", *([] if known and all(known.values()) else ["raw"])]
    lengths: list[tuple[int, int]] = []
    labels: dict[str, list[str]] = {"source file": [], "format": [], "script": [], "turns": []}
    for table in read_samples(pool.parts, ids, columns):
        for row in table.to_pylist():
            messages = row["messages"]
            lengths.append((len(instruction(messages)), len(response(messages))))
            labels["source file"].append(row["source"])
            labels["format"].append(known.get(row["source"]) or _recognised(row.get("raw")))
            labels["script"].append(script(joined(messages, "system", "user", "assistant")))
            labels["turns"].append(_turns(messages))
    both = np.array(lengths, np.int64).reshape(-1, 2)
    objects = {name: np.array(values, object) for name, values in labels.items()}
    unreadable = np.isin(ids, _unreadable(outcome.selection))
    return Measures(np.isin(ids, of_pool), np.isin(ids, of_kept), both[:, 0], both[:, 1], objects, unreadable)


def _unreadable(chosen: Selection) -> np.ndarray:
    """The ids of the samples that have an error of that kind in some column."""
    found = [
        np.array([sample for sample, error in feature.errors() if error.partition(":")[0] == UNREADABLE], np.int64)
        for feature in chosen.features.values()
        if (feature.states(len(chosen.reason)) == ERROR).any()
    ]
    return np.unique(np.concatenate([np.empty(0, np.int64), *found]))


def _drawn(random: np.random.Generator, size: int) -> np.ndarray:
    """Positions 0 … size - 1, ascending; a random LOOKED_AT of them where there are more."""
    if size <= LOOKED_AT:
        return np.arange(size)
    return np.sort(random.choice(size, LOOKED_AT, replace=False, shuffle=False))


def _formats(pool: Pool) -> dict[str, str]:
    """The format of each source whose samples all have the same one; empty text for the other sources."""
    found: dict[str, str] = {}
    for source in pool.facts.get("sources", []):
        formats = list(source.get("formats") or {})
        found[source["uri"]] = formats[0] if len(formats) == 1 else ""
    return found


def _recognised(raw: bytes | None) -> str:
    """The format of a record as it came in."""
    try:
        return messages_of(json.loads(raw or b"null"))[0]
    except (RecordFault, ValueError, TypeError):
        return "not known"


def _turns(messages: Sequence[Message]) -> str:
    count = len(turns(messages))
    for most, label in ((3, str(count)), (5, "4 to 5"), (10, "6 to 10")):
        if count <= most:
            return label
    return "more than 10"


def composition(labels: np.ndarray, measured: Measures) -> list[Share]:
    """The share of each label in the pool and among the kept, the pool's most frequent first."""
    of_pool, of_kept = Counter(labels[measured.of_pool]), Counter(labels[measured.of_kept])
    lost = Counter(labels[measured.of_pool & measured.unreadable])
    in_pool, in_kept = max(of_pool.total(), 1), max(of_kept.total(), 1)
    order = sorted({*of_pool, *of_kept}, key=lambda label: (-of_pool[label], label))
    rest = order[LARGEST_FIRST - 1 :] if len(order) > LARGEST_FIRST else []
    named = order[: len(order) - len(rest)]

    def share(name: str, *held: str) -> Share:
        pool, kept, unread = (sum(counted[label] for label in held) for counted in (of_pool, of_kept, lost))
        return Share(name, pool / in_pool, kept / in_kept, unread / max(pool, 1))

    return [*(share(label, label) for label in named), *([share(f"{len(rest):,} others", *rest)] if rest else [])]


def short_names(sources: Sequence[str]) -> dict[str, str]:
    """Each source without the folders that they all have in common.

    >>> short_names(["/data/a/x.jsonl", "/data/b/x.jsonl"])
    {'/data/a/x.jsonl': 'a/x.jsonl', '/data/b/x.jsonl': 'b/x.jsonl'}
    """
    split = [source.split("/") for source in sources]
    common = 0
    while split and all(len(parts) > common + 1 and parts[common] == split[0][common] for parts in split):
        common += 1
    return {source: "/".join(parts[common:]) for source, parts in zip(sources, split, strict=True)}
