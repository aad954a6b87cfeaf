"""NLU on Data Diets (Attendu and Corbeil 2023, SustaiNLP, arXiv 2306.03208): the data is chosen as a model learns it.

1. Train a classifier on everything for a few epochs.
2. Score all samples by their EL2N under it, and average the scores so far.
3. Go on for a few epochs with the samples that it is furthest from.
4. Repeat from step 2 until the epochs are used up: what was left out may come back.

Before use: the recipe's work is the model; its selection is what the next cycle would be trained on. The optimizer goes
on through all cycles, at a constant rate. A sample without a class, or that a cycle could not score, is never kept. The
scores of all cycles stay in the store. Regression sets (STS-B) are not taken. Ties go by id.
"""

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import ClassVar, Literal

from pydantic import Field as Limits
from pydantic.dataclasses import dataclass

from jobs.engine.recipe import Budget, Later, Pool, Ranking, Recipe, Selection, Step, Subset, Values
from jobs.methods.classified import classified
from jobs.methods.cycles import Cycles, Dropout, Smoothed
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
    """Train a classifier on what it is furthest from, chosen anew every few epochs."""

    published: ClassVar = {"cut": "quantile", "dropout": "on", "train.mean_over": "nothing", "train.fresh_layers": 1}

    budget: Budget = "50%"
    """What a cycle is trained on."""
    train: Finetune = Finetune(ROBERTA, labels=Labels("intent", "slots", "words"), **TEXT)
    """The classifier. `train.labels` names the record's fields: the class, and the slots and words of an utterance
    (train.labels.slots=none: a class alone). One head on the tokens predicts both, the intent at the first token, and
    the loss is half of each, a mean over the batch; as published it is the sum, and the last layer begins anew."""
    full_epochs: int = Limits(default=4, ge=0)
    """The epochs on everything, as in an example of the released code; with 0 the first choice is random."""
    every: int = Limits(default=4, ge=1)
    """The epochs of a cycle."""
    choose: Literal["hardest", "random"] = "hardest"
    """What a cycle is trained on; random is the control to compare with."""
    joint: nlu_diet.Joint = "norm"
    """One error of an utterance's intent and slots: the length of all together, the sum or the mean."""
    smoothing: nlu_diet.Smoothing = "ema"
    """The average over the cycles. The code's path for single texts has latest; which was published is not known."""
    alpha: float = Limits(default=0.8, gt=0, le=1)
    """The weight of the newest cycle in ema."""
    last: int = Limits(default=3, ge=1)
    """The number of cycles that smoothing=mean is over."""
    bonus: float = Limits(default=1.0, ge=0)
    """How many standard deviations over the cycles are added to ema."""
    cut: Literal["rank", "quantile"] = "rank"
    """rank takes as many as there are in the budget; quantile, as published, the scores between two quantiles as far
    apart as the per cent say, and more where they tie."""
    offset: float = Limits(default=0.0, ge=0, lt=1)
    """The share of the hardest that stays out."""
    dropout: Dropout = "off"
    """Whether dropout is on while samples are scored, as it seems to be in the released code."""
    precision: Precision = "auto"
    """The precision of the scores."""

    def steps(self) -> dict[str, Step]:
        """What says which samples have a class, then a training and a score of each cycle."""
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
        size = self.size(pool)
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
            because={"nearer to the model than the kept ones": scored, "the next cycle would be trained on it": kept},
            details={"epochs_trained_on": Values(usable.ids, run.visits())},
            facts=run.facts(),
        )

    def _chosen(self, run: Cycles, scored: Subset, size: int) -> Ranking:
        """What is trained on after the cycles so far, best first."""
        if self.choose == "random" or not run.chosen:
            return run.usable.shuffled(self.seed + len(run.chosen))[:size]
        if self.cut == "rank":
            offset = round(self.offset * len(scored))
            return scored.reduce(nlu_diet.hardest, "score", count=size, offset=offset)
        per_cent = self.budget.removesuffix("%")
        share = float(Decimal(per_cent) / 100) if per_cent != self.budget else size / len(scored)
        share = min(share, 1 - self.offset)
        return scored.reduce(nlu_diet.between_quantiles, "score", share=share, offset=self.offset)
