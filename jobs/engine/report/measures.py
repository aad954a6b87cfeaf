"""The measures by which the report compares the kept samples with their pool: lengths and labels."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import ray

from jobs.engine.ingest import RecordFault, messages_of
from jobs.engine.outcome.decided import sliced
from jobs.engine.outcome.failures import Errors
from jobs.engine.outcome.outcome import Outcome
from jobs.engine.pool.pool import Pool
from jobs.engine.samples.reading import Parts, read_samples
from operators.sample import Message, instruction, joined, record_in, response, turns
from operators.scripts import script
from operators.unknown import UNREADABLE

DRAWN = 20_000
LARGEST_FIRST = 12
LABELS = ("source file", "format", "script", "turns")


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
    """Labels by their names in the report, which are LABELS."""
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
    formats = ray.put(_formats(pool))
    slices = [(parts, ids[those]) for parts, those in sliced(pool.parts, ids)]
    calls = [(parts, some, formats, outcome.errors) for parts, some in slices if len(some)]
    found: list[_Measured] = outcome.desk.tasks.results("measured samples of", _measured, calls)
    both = np.concatenate([np.empty((0, 2), np.int64), *(each.lengths for each in found)])
    labels = {name: np.array([*chain(*(each.labels[name] for each in found))], object) for name in LABELS}
    labels["source file"] = np.array([names.get(source, source) for source in labels["source file"]], object)
    unreadable = np.isin(ids, [sample for each in found for sample in each.unreadable])
    return Measures(np.isin(ids, of_pool), np.isin(ids, of_kept), both[:, 0], both[:, 1], labels, unreadable)


class _Measured(NamedTuple):
    """What a task measured: the lengths of instruction and response, (n, 2); the labels; and the unreadable ids."""

    lengths: np.ndarray
    labels: Mapping[str, list[str]]
    unreadable: list[int]


def _measured(parts: Parts, ids: np.ndarray, formats: Mapping[str, str], errors: Errors) -> _Measured:
    """Measures the samples with these ids."""
    lengths: list[tuple[int, int]] = []
    labels: dict[str, list[str]] = defaultdict(list)
    columns = ["source", "messages", *([] if formats and all(formats.values()) else ["raw"])]
    for table in read_samples(parts, ids, columns):
        for row in table.to_pylist():
            messages = row["messages"]
            lengths.append((len(instruction(messages)), len(response(messages))))
            labels["source file"].append(row["source"])
            labels["format"].append(formats.get(row["source"]) or _recognised(row.get("raw")))
            labels["script"].append(script(joined(messages, "system", "user", "assistant")))
            labels["turns"].append(_turns(messages))
    failed = errors.within(parts.ids())
    failed = failed.filter(pa.array(np.isin(failed["id"].to_numpy(), ids))).to_pylist()
    unreadable = [each["id"] for each in failed if each["error"].partition(":")[0] == UNREADABLE]
    return _Measured(np.array(lengths, np.int64), labels, unreadable)


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
