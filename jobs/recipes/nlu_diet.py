"""NLU on Data Diets (Attendu and Corbeil 2023, SustaiNLP, arXiv 2306.03208): the data is chosen during the training.

1. Train a classifier on all samples for a few epochs.
2. Score all samples by their EL2N under it, and average the scores so far.
3. Continue the training for a few epochs on the samples with the highest scores.
4. Repeat from step 2 until all epochs are used. A sample that was left out may come back.

Before use: the main result is the model; the selection is what the next cycle would be trained on. The optimiser
continues through all cycles, at a constant rate. A sample without a class, or without a score in some cycle, is never
kept. The scores of all cycles stay in the store. Regression data (STS-B) is not supported. Ties go by id.
"""

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import ClassVar, Literal

from pydantic import Field as Limits
from pydantic.dataclasses import dataclass

from jobs.engine.recipe import Budget, Later, Pool, Ranking, Recipe, Selection, Series, Step, Subset
from jobs.methods.data_diets.classified import classified
from jobs.methods.data_diets.cycles import Cycles, Dropout, Smoothed
from operators.base import STRICT
from operators.checkpoint import Checkpoint
from operators.field import Field
from operators.kernels import nlu_diet
from operators.models.precision import Precision
from operators.supervision.labels import Labels
from operators.training.finetune import Finetune

ROBERTA = Checkpoint("FacebookAI/roberta-base")
TEXT = {"lora": None, "max_tokens": 256, "epochs": 40, "batch": 32, "schedule": "constant", "warmup": 0.0}


@dataclass(frozen=True, config=STRICT)
class NLUDiet(Recipe):
    """Train a classifier on the samples with the highest error, chosen again every few epochs."""

    published: ClassVar = {"cut": "quantile", "dropout": "on", "train.mean_over": "nothing", "train.fresh_layers": 1}

    budget: Budget = "50%"
    """How many samples a cycle is trained on."""
    train: Finetune = Finetune(ROBERTA, labels=Labels("intent", "slots", "words"), **TEXT)
    """The classifier. `train.labels` names the record's fields: the class, and the slots and words of an utterance
    (train.labels.slots=none: a class alone). One head on the tokens predicts both, the intent at the first token. The
    loss is half of each, a mean over the batch; as published, it is the sum, and the last layer starts at random."""
    full_epochs: int = Limits(default=4, ge=0)
    """The number of epochs on all samples, as in an example of the released code; 0: the first choice is random."""
    every: int = Limits(default=4, ge=1)
    """The number of epochs per cycle."""
    choose: Literal["hardest", "random"] = "hardest"
    """The samples of a cycle: hardest, by score, or random, as a baseline."""
    joint: nlu_diet.Joint = "norm"
    """How the errors of an utterance's intent and slots are combined: the norm of all together, the sum or the mean."""
    smoothing: nlu_diet.Smoothing = "ema"
    """The average over the cycles. The code for single texts uses latest; which one was published is not known."""
    alpha: float = Limits(default=0.8, gt=0, le=1)
    """The weight of the newest cycle in ema."""
    last: int = Limits(default=3, ge=1)
    """The number of cycles that smoothing=mean averages."""
    bonus: float = Limits(default=1.0, ge=0)
    """The number of standard deviations over the cycles that are added to ema."""
    cut: Literal["rank", "quantile"] = "rank"
    """rank: as many samples as the budget. quantile, as published: the scores between two quantiles that are as far
    apart as the budget's share, which are more samples where scores tie."""
    offset: float = Limits(default=0.0, ge=0, lt=1)
    """The share of the hardest samples that is left out."""
    dropout: Dropout = "off"
    """Whether dropout is on during the scoring; it seems to be on in the released code."""
    precision: Precision = "auto"
    """The precision of the scores."""

    def steps(self) -> dict[str, Step]:
        """The column of the class, the training, and the scores of each cycle."""
        labels = self.train.labels
        cycles = len(nlu_diet.cycles(self.train.epochs, self.full_epochs, self.every))
        scores = {f"cycle_{number}": Later("ClassError") for number in range(1, cycles + 1)}
        return {**({"label": Field(labels.label)} if labels else {}), **super().steps(), **scores}

    def refusals(self) -> Iterator[str]:
        """Refuses a training that is not of a whole classifier, too many full epochs, and a budget in tokens."""
        if self.train.labels is None or self.train.lora is not None:
            yield "all weights of a classifier are trained: set train.labels to its fields, and train.lora=none"
        if self.full_epochs > self.train.epochs:
            yield f"full_epochs={self.full_epochs} is more than train.epochs={self.train.epochs}"
        yield from self.refused_in_tokens()

    def select(self, pool: Pool) -> Selection:
        """Trains on all samples and scores them, then chooses, trains and scores until all epochs are used."""
        assert self.train.labels is not None, "check() refuses this"
        size = self.budget_size(pool)
        usable, labels = classified(pool, self.train.labels)
        average = Smoothed(self.joint, self.smoothing, self.alpha, self.last, self.bonus)
        run, scored = Cycles(replace(self.train, labels=labels), usable, self.seed, usable), usable[:0]
        for epochs in nlu_diet.cycles(self.train.epochs, self.full_epochs, self.every):
            everything = self.full_epochs and not run.chosen
            chosen = usable if everything else self._chosen(run, scored, size)
            run = run.after(chosen, epochs, self.dropout, self.precision)
            scored = average.over(run)
        kept = self._chosen(run, scored, size)
        return pool.selection(
            kept,
            score="score",
            because={"lower score than the kept ones": scored, "the next cycle would be trained on it": kept},
            details={"epochs_trained_on": Series(usable.ids, run.visits())},
            facts=run.facts(),
        )

    def _chosen(self, run: Cycles, scored: Subset, size: int) -> Ranking:
        """The training samples of the next cycle, best first."""
        if self.choose == "random" or not run.chosen:
            return run.usable.shuffled(self.seed + len(run.chosen))[:size]
        if self.cut == "rank":
            offset = round(self.offset * len(scored))
            return scored.reduce(nlu_diet.hardest, "score", count=size, offset=offset)
        per_cent = self.budget.removesuffix("%")
        share = float(Decimal(per_cent) / 100) if per_cent != self.budget else size / len(scored)
        share = min(share, 1 - self.offset)
        return scored.reduce(nlu_diet.between_quantiles, "score", share=share, offset=self.offset)
