"""What a selection costs, from the records of all runs of a comparison.

A recipe's cost is that of the recipe alone. A feature that a run found in the store was computed by another run: its
seconds are those that this recipe's samples took there, or would take at the pace that the store has of it.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from jobs.engine.store.store import pace_in

COUNTING = ("Tokens", "Field", "Turns")
"""Operators that run no model, though they may have a tokenizer."""

TICK = 0.01  # seconds, to which records are rounded

Known = Literal["measured", "estimated", "at least"]


@dataclass(frozen=True)
class Cost:
    """What a recipe would cost by itself."""

    seconds: float
    known: Known
    """measured: all in this comparison. estimated: some features at the pace of the store. at least: of a feature or a
    training that was in the store before there is no pace, so that its seconds are left out."""
    passes: int
    """Samples that a model read, once per model and per epoch of a training."""


class Work(NamedTuple):
    """What was computed of one feature, or of one training."""

    seconds: float
    samples: int
    whole: bool
    """Whether a run of the comparison began with no value of it."""


NOTHING = Work(0.0, 0, whole=False)


def computed(manifests: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], Work]:
    """What was computed of each feature, by fingerprint and pool; of each training by its folder."""
    found: dict[tuple[str, str], Work] = {}
    for manifest in manifests:
        for entry in manifest["verbs"]:
            if entry.get("computed") and "seconds" in entry:
                seconds, samples, whole = found.get(_key(entry), NOTHING)
                more = entry["seconds"], entry["computed"]
                found[_key(entry)] = Work(seconds + more[0], samples + more[1], whole or not _found(entry))
    return found


def cost(manifest: Mapping[str, Any], known: Mapping[tuple[str, str], Work]) -> Cost:
    """The cost of a run; known: as `computed` returns it."""
    own, used = computed([manifest]), defaultdict(list)
    for entry in manifest["verbs"]:
        if "operator" in entry:
            used[_key(entry)].append(entry)
    seconds, passes = manifest["seconds"], 0
    how: set[Known] = set()
    for key, entries in used.items():
        largest = max(entries, key=lambda entry: entry["samples"])
        more, kind = _elsewhere(entries, own.get(key, NOTHING), known.get(key, NOTHING))
        seconds += more
        if largest["made_of"]:
            how.add(kind)
            read = largest["samples"] * largest.get("epochs", 1)
            passes += 0 if largest["operator"] in COUNTING else read
    worst: Known = "at least" if "at least" in how else "estimated" if "estimated" in how else "measured"
    return Cost(seconds, worst, passes)


def _elsewhere(entries: Sequence[Mapping[str, Any]], own: Work, known: Work) -> tuple[float, Known]:
    """The seconds of the values of a feature that a run has found, and how they are known.

    entries: of the feature in the run, in their order. own, known: what this run and all runs computed of it.
    """
    if not _found(entries[0]):
        return 0.0, "measured"
    samples = done = 0
    for entry in entries:
        samples, done = max(samples, _found(entry) - done), done + entry["computed"]
    if known.samples > own.samples:
        pace = (known.samples - own.samples) / max(known.seconds - own.seconds, TICK)
        return samples / pace, "measured" if known.whole else "estimated"
    pace = pace_in(entries[0]["feature"].rpartition("/")[0]) if "feature" in entries[0] else None
    return (samples / pace, "estimated") if pace else (0.0, "at least")


def _found(entry: Mapping[str, Any]) -> int:
    return entry["stored"] + entry.get("taken_over", 0)


def _key(entry: Mapping[str, Any]) -> tuple[str, str]:
    return entry.get("fingerprint", ""), entry.get("pool", "") if "map" in entry else entry.get("folder", "")
