"""NLU on Data Diets (Attendu and Corbeil 2023, SustaiNLP, arXiv 2306.03208): the data is chosen as a model learns it.

A classifier is trained on everything for a few epochs. Then it scores all samples by their EL2N, goes on for a few
with those that it is furthest from, scores all again, and so on: what was left out may come back. The recipe's work is
the model; its selection is what the next cycle would be trained on. What differs from the released code, each a field:

- `train.labels` names the record's fields: `label` the class, `slots` and `words` an utterance's slots, where there are
  any (train.labels.slots=none: a class alone). Intent and slots are told by one head on the tokens, the intent at the
  first one, and the loss is half the intent's and half the slots', summed, as there. A batch's is the mean over its
  samples; `--as-published` sums it. Regression sets (STS-B) are not taken.
- `joint` norm is the length of all errors of an utterance together, so that long ones score higher; sum and mean too.
- A sample's score is an exponential average over the cycles, `alpha` 0.8 for the newest, and `bonus` times its standard
  deviation: the defaults for intents and slots there. Its path for single texts has smoothing=latest; which of the two
  made the published table is not known. The scores of all cycles stay in the store, and the average follows from them.
- `full_epochs` and `every` 4 are those of an example there, whose default prunes nothing. With full_epochs=0 the first
  choice is random, as there; `choose` random is so in every cycle, the control to compare with.
- `budget` is what a cycle is trained on: as many as there are, ties by id. cut=quantile takes the scores between two
  quantiles instead, as far apart as the per cent say, and more where they tie, as `--as-published` does. `offset` is
  the share of hardest that stay out.
- `dropout` off scores in eval mode; in the released code it seems to be on, as `--as-published` has it. Its joint model
  also begins its last layer anew (train.fresh_layers=1 there).
- The optimizer's moments and steps go on through all cycles, at a constant rate; the order is each cycle's own.
- A sample without a class is counted and never kept; nor is one that a cycle could not score.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field as Limits
from pydantic.dataclasses import dataclass

from jobs.engine.pool.pool import Pool
from jobs.engine.pool.selection import Column, Selection
from jobs.engine.recipe.recipe import Budget, Later, Recipe, Step
from jobs.methods.classified import classified
from operators.base import STRICT
from operators.checkpoint import Checkpoint
from operators.field import Field
from operators.kernels import nlu_diet
from operators.kernels.sampling import random_order
from operators.losses.class_error import ClassError
from operators.models.precision import Precision
from operators.supervision.labels import Labels
from operators.training.finetune import Finetune

JOINT = Finetune(
    Checkpoint("FacebookAI/roberta-base"),
    lora=None,
    labels=Labels("intent", "slots", "words"),
    max_tokens=256,
    epochs=40,
    batch=32,
    schedule="constant",
    warmup=0.0,
)

ERRORS = ("el2n", "slot_sum", "slot_fro", "slots")


@dataclass(frozen=True, config=STRICT)
class NLUDiet(Recipe):
    """Train a classifier on what it is furthest from, chosen anew every few epochs."""

    published: ClassVar = {
        "cut": "quantile",
        "dropout": "on",
        "train.mean_over": "nothing",
        "train.fresh_layers": 1,
    }

    budget: Budget = "50%"
    train: Finetune = JOINT
    full_epochs: int = Limits(default=4, ge=0)
    every: int = Limits(default=4, ge=1)
    choose: Literal["hardest", "random"] = "hardest"
    joint: nlu_diet.Joint = "norm"
    smoothing: nlu_diet.Smoothing = "ema"
    alpha: float = Limits(default=0.8, gt=0, le=1)
    last: int = Limits(default=3, ge=1)
    bonus: float = Limits(default=1.0, ge=0)
    cut: Literal["rank", "quantile"] = "rank"
    offset: float = Limits(default=0.0, ge=0, lt=1)
    dropout: Literal["off", "on"] = "off"
    precision: Precision = "auto"

    def steps(self) -> dict[str, Step]:
        """What tells which samples have a class, then a training and a score of each cycle."""
        labels = self.train.labels
        cycles = len(nlu_diet.cycles(self.train.epochs, self.full_epochs, self.every))
        scores = {f"cycle_{number}": Later("ClassError") for number in range(1, cycles + 1)}
        return {**({"label": Field(labels.label)} if labels else {}), **super().steps(), **scores}

    def refusals(self) -> Iterator[str]:
        """What cannot be trained so, and a budget in tokens."""
        if self.train.labels is None or self.train.lora is not None:
            yield "a classifier is trained whole: train.labels names its fields, and train.lora is none"
        if self.full_epochs > self.train.epochs:
            yield f"full_epochs={self.full_epochs} is more than train.epochs={self.train.epochs}"
        yield from self.refused_in_tokens()

    def select(self, pool: Pool) -> Selection:
        """Train on all, score all; then choose, train and score again until the epochs are used up."""
        assert self.train.labels is not None, "check() comes before"
        self.size(pool)  # which refuses more than there is, before anything is trained
        pool, usable, labels = classified(pool, self.train.labels)
        trained: list[tuple[int, np.ndarray]] = []
        names, model, scored = [], None, (usable[:0], np.empty(0))
        for epochs in nlu_diet.cycles(self.train.epochs, self.full_epochs, self.every):
            chosen = usable if self.full_epochs and not names else self._chosen(pool, usable, len(names), scored)
            seed = self.train.seed + self.seed + len(names)
            trainer = replace(self.train, labels=labels, epochs=epochs, after=model, seed=seed)
            model = pool.train(trainer, chosen)[-1]
            names.append(f"cycle_{len(names) + 1}")
            error = ClassError(model, labels, self.train.max_tokens, self.dropout, self.precision)
            pool = pool.map(only=usable, **{names[-1]: error})
            trained.append((epochs, chosen))
            scored = self._scores(pool, usable, names)
        ids, scores = scored
        kept = self._chosen(pool, usable, len(names), scored)
        visits = np.zeros(pool.samples, np.int64)
        for epochs, chosen in trained:
            visits[chosen] += epochs
        return pool.select(
            kept,
            score=(ids, scores),
            reasons={
                "no class, or not scored in every cycle": np.arange(pool.samples),
                "the model is nearer to it than to the kept ones": ids,
                "what the next cycle would be trained on": kept,
            },
            details={"epochs_trained_on": (usable, visits[usable])},
            facts={
                "model": model.name if model else "",
                "trained on": [len(chosen) for _, chosen in trained],
                "steps": sum(epochs * self.train.steps(len(chosen)) for epochs, chosen in trained),
                "steps without a diet": self.train.epochs * self.train.steps(len(usable)),
                "classes told right": [float(pool.values(f"{name}.right", ids).mean()) for name in names],
                "not scored": pool.samples - len(ids),
            },
        )

    def _scores(self, pool: Pool, usable: np.ndarray, names: Sequence[str]) -> Column:
        """The ids that all these cycles scored, and what their errors come to."""
        ids = np.intersect1d(usable, pool.valid(*names))
        columns = [f"{name}.{field}" for name in names for field in ERRORS]
        options = {each: getattr(self, each) for each in ("joint", "smoothing", "alpha", "last", "bonus")}
        return ids, pool.reduce(nlu_diet.diet_scores, *columns, only=ids, **options)

    def _share(self, pool: Pool, scored: int) -> float:
        """The budget as a share of the scored samples, at most what the offset leaves; per cent as they are given."""
        per_cent = self.budget.removesuffix("%")
        share = float(Decimal(per_cent) / 100) if per_cent != self.budget else self.size(pool) / scored
        return min(share, 1 - self.offset)

    def _chosen(self, pool: Pool, usable: np.ndarray, cycle: int, scored: Column) -> np.ndarray:
        """What is trained on after so many cycles, of which these ids and scores came, best first."""
        if self.choose == "random" or not cycle:
            return usable[random_order(len(usable), self.seed + cycle)[: self.size(pool)]]
        ids, scores = scored
        if self.cut == "quantile":
            return ids[nlu_diet.between_quantiles(scores, self._share(pool, len(ids)), offset=self.offset)]
        return ids[nlu_diet.hardest(scores, self.size(pool), offset=round(self.offset * len(ids)))]
