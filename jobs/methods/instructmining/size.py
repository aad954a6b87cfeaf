"""A selection whose size is searched: as many of the best samples as make the best model, by fine-tunes on them."""

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field as Limits
from pydantic.dataclasses import dataclass

from jobs.engine.command.places import missing
from jobs.engine.pool.pool import Pool
from jobs.engine.pool.subset import Ranking
from jobs.engine.recipe.steps import Reads, Step
from jobs.engine.samples.runs import ids_digest
from jobs.engine.terminal.errors import UsageError
from jobs.engine.terminal.screen import say
from jobs.methods.held_out import HeldOut
from jobs.methods.instructmining.size_search import Log, searched
from operators.base import STRICT, canonical_digest
from operators.training.finetune import LIKE_ALPACA, Finetune


@dataclass(frozen=True, config=STRICT)
class Sized:
    """The size of a selection: the budget's, or the one with the lowest loss of held-out samples."""

    size: Literal["budget", "search"] = "budget"
    """search: the size with the lowest loss on the file `chosen_on`, by fine-tunes on the best samples."""
    least: int = Limits(default=512, ge=1)
    """The smallest size of the search, with which it begins."""
    most: int = Limits(default=10_000, ge=1)
    """The largest size of the search."""
    trials: int = Limits(default=30, ge=1)
    """The number of sizes that are tried; a search that is run again continues after the last one."""
    train: Finetune = LIKE_ALPACA
    """The fine-tunes of the search. As published, of Llama-2-7B."""
    chosen_on: str = ""
    """The file of held-out samples whose loss decides the size."""
    reported_on: str = ""
    """A third file, whose loss at the chosen size is reported; the paper reports the loss that it has minimised."""

    def size_refusals(self) -> Iterator[str]:
        """Refuses a search without a range or without its files."""
        if self.size == "budget":
            return
        if self.least > self.most:
            yield f"least={self.least} is above most={self.most}"
        for name in ("chosen_on", "reported_on"):
            file = getattr(self, name)
            yield from missing(name, file) if file else [f"size=search needs held-out samples: set {name}=FILE"]
        if self.chosen_on and self.chosen_on == self.reported_on:
            yield "chosen_on and reported_on are one file: the loss that decides says nothing about itself"

    def size_steps(self) -> dict[str, Step]:
        """What the search reads and trains; nothing where the budget decides."""
        if self.size == "budget":
            return {}
        return {"chosen_on": Reads(self.chosen_on), "reported_on": Reads(self.reported_on), "train": self.train}

    def best_size(self, pool: Pool, ranking: Ranking) -> tuple[int, dict[str, Any]]:
        """How many of the ranked samples to keep, and facts of the search.

        UsageError where fewer samples are ranked than the smallest size.
        """
        if len(ranking) < self.least:
            raise UsageError(f"{len(ranking):,} samples have a rank, and least={self.least:,}: set least lower")
        least, most = self.least, min(self.most, len(ranking))
        deciding, reported = HeldOut.read(pool, self.chosen_on), HeldOut.read(pool, self.reported_on)
        if deciding.pool.origin.identity("conversation") == reported.pool.origin.identity("conversation"):
            raise UsageError(f"{self.chosen_on} and {self.reported_on} have the same samples: report on others")

        def loss(size: int, on: HeldOut = deciding) -> float:
            return on.loss(self.train, ranking[:size].train(self.train)[-1])

        identity = {
            "search": 1,
            "trainer": self.train.fingerprint(),
            "pools": [each.origin.identity("conversation") for each in (pool, deciding.pool)],
            "ranking": ids_digest(ranking.order),
            "range": [least, most],
        }
        name = canonical_digest(identity)[:16]
        log = Log(pool.session.store.folder.inner("searches"), f"{name}.jsonl")
        found = searched(loss, least, most, self.trials, self.train.seed, log)
        if found.edge:
            say(f"size: {found.edge}")
        facts = {
            "size": found.size,
            "loss of each size": {f"{size}": value for size, value in found.trials.items()},
            "loss on the file that decided": found.trials[found.size],
            "loss on the other file": loss(found.size, reported),
            "trial log": log.path,
        }
        return found.size, facts | ({"warning": found.edge} if found.edge else {})
