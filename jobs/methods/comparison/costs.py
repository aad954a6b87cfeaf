"""What a selection costs, from the records of all runs of a comparison.

A feature that a run found in the store was computed by another, so its seconds are counted here as that one's record
has them: a recipe's cost is that of the recipe alone.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

COUNTING = ("Tokens", "Field", "Turns")
"""Operators that run no model, though they may have a tokenizer."""


@dataclass(frozen=True)
class Cost:
    """What a recipe would cost by itself."""

    seconds: float
    passes: int
    """Samples that a model read, once per model and per epoch of a training."""
    complete: bool
    """Whether the seconds of every feature are known: some of its values may have been in the store before."""


class Work(NamedTuple):
    """What was computed of one feature, or of one training."""

    seconds: float
    whole: bool
    """Whether a run began with no value of it; else some were computed before, in seconds that no record has."""


NOTHING = Work(0.0, False)


def computed(manifests: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], Work]:
    """What was computed of each feature, by fingerprint and pool; of each training by its folder."""
    found: dict[tuple[str, str], Work] = {}
    for manifest in manifests:
        for entry in manifest["verbs"]:
            if entry.get("computed") and "seconds" in entry:
                seconds, whole = found.get(_key(entry), NOTHING)
                first = not entry["stored"] and not entry.get("taken_over")
                found[_key(entry)] = Work(seconds + entry["seconds"], whole or first)
    return found


def cost(manifest: Mapping[str, Any], known: Mapping[tuple[str, str], Work]) -> Cost:
    """The cost of a run; known: as `computed` returns it."""
    entries = [entry for entry in manifest["verbs"] if "operator" in entry]
    own = computed([manifest])
    used = {_key(entry) for entry in entries}
    others = (known.get(key, NOTHING).seconds - own.get(key, NOTHING).seconds for key in used)
    passes: dict[tuple[str, str], int] = {}
    for entry in entries:
        if entry["made_of"] and entry["operator"] not in COUNTING:
            read = entry["samples"] * entry.get("epochs", 1)
            passes[_key(entry)] = max(passes.get(_key(entry), 0), read)
    whole = all(known.get(_key(each), NOTHING).whole for each in entries if each["made_of"])
    return Cost(manifest["seconds"] + sum(others), sum(passes.values()), whole)


def _key(entry: Mapping[str, Any]) -> tuple[str, str]:
    return entry.get("fingerprint", ""), entry.get("pool", "") if "map" in entry else entry.get("folder", "")
