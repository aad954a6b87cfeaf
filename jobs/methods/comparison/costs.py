"""What a selection costs, from the records of all runs of a comparison.

A feature that a run found in the store was computed by another, so its seconds are counted here as that one's record
has them: a recipe's cost is that of the recipe alone.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

COUNTING = ("Tokens", "Field", "Turns")
"""Operators that run no model, though they may have a tokenizer."""


@dataclass(frozen=True)
class Cost:
    """What a recipe would cost by itself."""

    seconds: float
    passes: int
    """Samples that a model read, once per model and per epoch of a training."""
    complete: bool
    """Whether the seconds of every feature are known: one may have been in the store before the comparison."""


def computed(manifests: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], float]:
    """The seconds in which each feature was computed, by fingerprint and pool; each training by its folder."""
    found: dict[tuple[str, str], float] = {}
    for manifest in manifests:
        for entry in manifest["verbs"]:
            if entry.get("computed") and "seconds" in entry:
                key = _key(entry)
                found[key] = found.get(key, 0.0) + entry["seconds"]
    return found


def cost(manifest: Mapping[str, Any], known: Mapping[tuple[str, str], float]) -> Cost:
    """The cost of a run; known: as `computed` returns it."""
    entries = [entry for entry in manifest["verbs"] if "operator" in entry]
    own = computed([manifest])
    used = {_key(entry) for entry in entries}
    seconds = manifest["seconds"] + sum(known.get(key, 0.0) - own.get(key, 0.0) for key in used)
    passes: dict[tuple[str, str], int] = {}
    for entry in entries:
        if entry["made_of"] and entry["operator"] not in COUNTING:
            read = entry["samples"] * entry.get("epochs", 1)
            passes[_key(entry)] = max(passes.get(_key(entry), 0), read)
    modelled = {_key(entry) for entry in entries if entry["made_of"]}
    return Cost(seconds, sum(passes.values()), all(key in known for key in modelled))


def _key(entry: Mapping[str, Any]) -> tuple[str, str]:
    return entry.get("fingerprint", ""), entry.get("pool", "") if "map" in entry else entry.get("folder", "")
