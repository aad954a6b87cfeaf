"""The measures by which the report compares the kept samples with their pool: lengths and labels."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from jobs.engine.ingest import RecordFault, messages_of
from jobs.engine.outcome.outcome import Outcome
from jobs.engine.pool.pool import Pool
from jobs.engine.pool.selection import Selection
from jobs.engine.samples.reading import read_samples
from jobs.engine.store.feature import ERROR
from operators.sample import Message, instruction, joined, record_in, response, turns
from operators.scripts import script
from operators.unknown import UNREADABLE

DRAWN = 20_000
LARGEST_FIRST = 12


@dataclass(frozen=True)
class Measures:
    """The measures of the samples that were drawn; every array has one value per sample."""

    of_pool: np.ndarray
    """Whether the sample was drawn from the pool."""
    of_kept: np.ndarray
    """Whether the sample was drawn from the kept samples."""
    instruction: np.ndarray
    """The number of characters that the user wrote."""
    response: np.ndarray
    """The number of characters that the assistant wrote."""
    labels: Mapping[str, np.ndarray]
    """Labels by their names in the report: source file, format, script, turns."""
    unreadable: np.ndarray
    """Whether the tokenizer of some model could not read the sample."""


class Share(NamedTuple):
    """How often a label occurs in the pool and among the kept samples."""

    label: str
    pool: float
    kept: float
    unreadable: float
    """The share of the label's own samples in the pool that some model could not read."""


def measures(outcome: Outcome, names: Mapping[str, str]) -> Measures:
    """The measures of at most DRAWN samples of the pool and at most DRAWN kept ones.

    They are drawn at random, with the recipe's seed. names: the short name per source.
    """
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
            labels["source file"].append(names.get(row["source"], row["source"]))
            labels["format"].append(known.get(row["source"]) or _recognised(row.get("raw")))
            labels["script"].append(script(joined(messages, "system", "user", "assistant")))
            labels["turns"].append(_turns(messages))
    both = np.array(lengths, np.int64).reshape(-1, 2)
    objects = {name: np.array(values, object) for name, values in labels.items()}
    unreadable = np.isin(ids, _unreadable(outcome.selection))
    return Measures(np.isin(ids, of_pool), np.isin(ids, of_kept), both[:, 0], both[:, 1], objects, unreadable)


def _unreadable(chosen: Selection) -> np.ndarray:
    """The ids of the samples that have an "unreadable" error in some column."""
    found = [
        np.array([sample for sample, error in feature.errors() if error.partition(":")[0] == UNREADABLE], np.int64)
        for feature in chosen.features.values()
        if (feature.states(len(chosen.reason)) == ERROR).any()
    ]
    return np.unique(np.concatenate([np.empty(0, np.int64), *found]))


def _drawn(random: np.random.Generator, size: int) -> np.ndarray:
    """The positions 0 … size - 1, ascending; where there are more than DRAWN, a random draw of that number."""
    if size <= DRAWN:
        return np.arange(size)
    return np.sort(random.choice(size, DRAWN, replace=False, shuffle=False))


def _formats(pool: Pool) -> dict[str, str]:
    """The format per source; empty where its samples have several formats."""
    found: dict[str, str] = {}
    for source in pool.facts.get("sources", []):
        formats = list(source.get("formats") or {})
        found[source["uri"]] = formats[0] if len(formats) == 1 else ""
    return found


def _recognised(raw: bytes | None) -> str:
    """The format of a record, given its bytes in the input file."""
    try:
        return messages_of(record_in(raw))[0] if raw else ""
    except (RecordFault, ValueError, TypeError):
        return "not known"


def _turns(messages: Sequence[Message]) -> str:
    count = len(turns(messages))
    for most, label in ((3, str(count)), (5, "4 to 5"), (10, "6 to 10")):
        if count <= most:
            return label
    return "more than 10"


def comparisons(measured: Measures) -> dict[str, list[Share]]:
    """The shares of all labels, by the labels' name in the report."""
    shares = {name: composition(labels, measured) for name, labels in measured.labels.items()}
    shares["turns"].sort()  # a small number of turns comes before a large one, however many samples have it
    return shares


def composition(labels: np.ndarray, measured: Measures) -> list[Share]:
    """The shares of each label, the most frequent in the pool first; the rare ones together at the end."""
    of_pool, of_kept = Counter(labels[measured.of_pool]), Counter(labels[measured.of_kept])
    lost = Counter(labels[measured.of_pool & measured.unreadable])
    in_pool, in_kept = max(of_pool.total(), 1), max(of_kept.total(), 1)
    order = sorted({*of_pool, *of_kept}, key=lambda label: (-of_pool[label], label))
    rest = order[LARGEST_FIRST - 1 :] if len(order) > LARGEST_FIRST else []
    named = order[: len(order) - len(rest)]

    def share(name: str, *together: str) -> Share:
        pool, kept, unread = (sum(counted[label] for label in together) for counted in (of_pool, of_kept, lost))
        return Share(name, pool / in_pool, kept / in_kept, unread / max(pool, 1))

    return [*(share(label, label) for label in named), *([share(f"{len(rest):,} others", *rest)] if rest else [])]
