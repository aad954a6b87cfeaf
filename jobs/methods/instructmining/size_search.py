"""The size of a selection: how many of the best samples make the best model, found by fine-tunes on several sizes.

FLAML's BlendSearch proposes the sizes. It begins with the smallest, which costs least, and goes on both by steps from
the best one so far and by a model of all of them. Each trial is written to a log, so that a search that was stopped
goes on where it was.

<store>/searches/<fingerprint>.jsonl    {"size": 512, "loss": 1.02, "seconds": 61.0}, a line per trial
"""

import json
import logging
import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jobs.engine.store.folder import Folder
from jobs.engine.terminal.screen import say

MOST_EMPTY = 100
"""The search ends after it has proposed no size this many times in a row."""
NEAR_AN_EDGE = 0.02
"""The distance to the smallest or the largest size, as a share of the logarithmic range, at which a warning is due."""


@dataclass(frozen=True)
class Found:
    """The size with the smallest loss, and the trials."""

    size: int
    trials: dict[int, float]
    """The loss of each size that was tried, in the order of the trials."""
    edge: str = ""
    """Why the size may not be the best: it lies at an end of the range; empty where it does not."""


@dataclass(frozen=True)
class Log:
    """The trials of a search in a file with one JSON object per line."""

    folder: Folder
    name: str

    @property
    def path(self) -> str:
        """The path or URL of the file."""
        return self.folder.file(self.name)

    def lines(self) -> list[dict[str, Any]]:
        """The trials so far."""
        return [json.loads(line) for line in self._text().splitlines()]

    def add(self, trial: dict[str, Any]) -> None:
        """Writes the file again with another trial; it is whole whenever the run is killed."""
        self.folder.make()
        self.folder.write(self.name, self._text() + json.dumps(trial).encode() + b"\n")

    def _text(self) -> bytes:
        return self.folder.content(self.name) if self.folder.exists(self.name) else b""


def searched(loss: Callable[[int], float], least: int, most: int, trials: int, seed: int, log: Log) -> Found:
    """The size from `least` to `most` with the smallest loss, from at most `trials` different sizes.

    loss: of a size; it is called once per size that is not in the log. Of equal losses the smaller size is best. The
    proposals depend on the losses and the seed only, so a search with the same log is the same.
    """
    known = {line["size"]: line["loss"] for line in log.lines()}
    tried: dict[int, float] = {}
    if most == least:
        tried[least] = known.get(least) or _tried(loss, least, 1, 1, log)
        return Found(least, tried)
    search, empty, number = _blend_search(least, most, seed), 0, 0
    while len(tried) < min(trials, most - least + 1) and empty < MOST_EMPTY:
        name, number = str(number), number + 1
        proposal = search.suggest(name)
        if proposal is None:
            empty += 1
            continue
        empty, size = 0, int(proposal["size"])
        if size not in tried:
            if size not in known:
                known[size] = _tried(loss, size, len(tried) + 1, trials, log)
            tried[size] = known[size]
        # The cost of a trial is its size, and not its seconds, which would make another search of each run.
        search.on_trial_complete(name, {"loss": tried[size], "config/size": size, "cost": size})
    best = min(tried, key=lambda size: (tried[size], size))
    return Found(best, tried, _edge(best, least, most))


def _tried(loss: Callable[[int], float], size: int, number: int, trials: int, log: Log) -> float:
    began = time.monotonic()
    found = loss(size)
    line = {"size": size, "loss": found, "seconds": round(time.monotonic() - began, 2)}
    log.add(line)
    say(f"size: trial {number} of at most {trials}: {size:,} samples, held-out loss {found:.4f}")
    return found


def _blend_search(least: int, most: int, seed: int) -> Any:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # flaml.automl is not installed, nor used
        from flaml import tune  # it re-exports Ray's domains where Ray is installed
        from flaml.tune.searcher.blendsearch import BlendSearch

    logging.getLogger("flaml.tune.searcher.suggestion").setLevel(logging.ERROR)
    logging.getLogger("flaml.tune.searcher.optuna_search").setLevel(logging.ERROR)
    return BlendSearch(
        metric="loss",
        mode="min",
        space={"size": tune.lograndint(least, most + 1)},  # type: ignore[attr-defined]
        low_cost_partial_config={"size": least},
        cost_attr="cost",
        seed=seed,
    )


def _edge(best: int, least: int, most: int) -> str:
    reach = NEAR_AN_EDGE * math.log(most / least)
    if most > least and math.log(best / least) <= reach:
        return f"the best size, {best:,}, is at the lower end of the range: set least below {least:,}"
    if most > least and math.log(most / best) <= reach:
        return f"the best size, {best:,}, is at the upper end of the range: set most above {most:,}"
    return ""
