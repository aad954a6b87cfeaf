"""The runs of a data diet: models trained for a short time, each from its own seed, and samples' scores under them."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from jobs.engine.pool.pool import Pool
from jobs.engine.pool.subset import Subset
from jobs.methods.data_diets.classified import classified, forgotten
from operators.base import Operator
from operators.checkpoint import Checkpoint
from operators.gradients.gradient_norm import GradientNorm
from operators.kernels.correlation import spearman
from operators.kernels.data_diet import mean_over, over_runs
from operators.losses.class_error import ClassError
from operators.losses.loss import Loss
from operators.models.precision import Precision
from operators.supervision.labels import Labels
from operators.training.finetune import Finetune

SEED_STEP = 424_242
"""The difference between the seeds of two consecutive runs."""

DietScore = Literal["el2n", "grand", "grand_lora", "grand_last", "forgetting"]
Aggregate = Literal["mean", "sum", "fro"]
Run = Sequence[Checkpoint]
"""The epochs of a run, in order."""

LAYERS: dict[str, Literal["adapter", "linear", "head"]] = {
    "grand": "linear",
    "grand_lora": "adapter",
    "grand_last": "head",
}
"""The layers whose gradient a score is the length of."""


@dataclass(frozen=True)
class EarlyRuns:
    """The number of models, their training, and the score of samples under them."""

    score: DietScore
    aggregate: Aggregate
    count: int
    trainer: Finetune
    share: float
    trained: tuple[str, ...]
    seed: int
    precision: Precision

    def refusals(self) -> Iterator[str]:
        """Yields a message per contradiction between fields."""
        if self.trainer.labels is not None:
            yield from self._refused_of_a_classifier(self.trainer.labels)
        if self.aggregate == "fro" and self.score != "el2n":
            yield "aggregate=fro is for token errors (score=el2n): set aggregate to mean or sum for a gradient's length"
        if self.score == "grand_lora" and self.trainer.lora is None:
            yield "score=grand_lora needs an adapter, and train.lora is null: set score=grand"
        if self.score == "forgetting":
            yield from self._refused_of_forgetting()

    def _refused_of_a_classifier(self, labels: Labels) -> Iterator[str]:
        if self.trainer.lora is not None:
            yield "all weights of a classifier are trained: set train.lora=none"
        if self.aggregate != "mean":
            yield f"aggregate={self.aggregate} is for a response's tokens; a class has one error: set aggregate=mean"
        if labels.slots is not None:
            yield "data_diet scores classes, not slots: set train.labels.slots=none, or use nlu_diet"

    def _refused_of_forgetting(self) -> Iterator[str]:
        if self.trainer.labels is None:
            yield "score=forgetting needs a classifier: name the field of the class with train.labels.label=FIELD"
        if self.trained:
            yield "score=forgetting is counted while models are trained: leave trained empty"
        if self.trainer.epochs < 2:
            yield "score=forgetting compares consecutive epochs: set train.epochs to 2 or more"

    def base(self) -> Loss:
        """The loss under the base model. Every sample that a language model can be trained on has one."""
        trainer = self.trainer
        return Loss(trainer.base, None, trainer.template, trainer.max_tokens, self.precision)

    def scores(self, last: Iterable[Checkpoint]) -> dict[str, Operator]:
        """The operators of the columns run_1, run_2 …: the score under the last checkpoint of each run.

        Empty for score=forgetting, which needs no column.
        """
        if self.score == "forgetting":
            return {}
        return {f"run_{number}": self._under(each) for number, each in enumerate(last, start=1)}

    def _under(self, last: Checkpoint) -> Operator:
        """The operator of the score under the last epoch of a run; for a classifier, the score is that of the class.

        The values of all of these operators have the fields tokens, nll_mean and truncated.
        """
        trainer = self.trainer
        model, adapter = (last, None) if trainer.lora is None else (trainer.base, last)
        template, labels, tokens = trainer.template, trainer.labels, trainer.max_tokens
        if self.score != "el2n":
            return GradientNorm(model, adapter, LAYERS[self.score], template, labels, tokens, self.precision)
        if labels is not None:
            return ClassError(model, labels, tokens, precision=self.precision)
        return Loss(model, adapter, template, tokens, self.precision)

    def scored(self, pool: Pool) -> tuple[Subset, dict[str, Any]]:
        """The samples with a score in every run, and facts of the runs for the manifest.

        Columns: score, the mean over the runs, and spread, the standard deviation. Except for score=forgetting, also
        loss, the mean negative log-likelihood over the runs, and length, the number of tokens that were scored.
        """
        if self.trainer.labels is not None:
            usable, labels = classified(pool, self.trainer.labels)
            named = replace(self, trainer=replace(self.trainer, labels=labels))
        else:
            usable, named = pool if self.trained else pool.map(base=self.base()), self
        runs = [(Checkpoint(run),) for run in self.trained] or named._train(usable)
        return named._forgotten(usable, runs) if self.score == "forgetting" else named._measured(usable, runs)

    def _train(self, usable: Subset) -> list[Run]:
        drawn = usable.shuffled(self.seed)[: math.ceil(self.share * len(usable))]
        seeds = [self.trainer.seed + self.seed + SEED_STEP * run for run in range(self.count)]
        return [drawn.train(replace(self.trainer, seed=seed)) for seed in seeds]

    def _measured(self, usable: Subset, runs: Sequence[Run]) -> tuple[Subset, dict[str, Any]]:
        """The samples, scored under the last epoch of each run, and facts of the runs."""
        columns = self.scores(epochs[-1] for epochs in runs)
        scored = usable.map(**columns)
        length = scored.values("run_1.tokens")
        field, times = "norm", length if self.aggregate == "sum" else None
        if self.score == "el2n":
            field, times = f"el2n_{self.aggregate}" if self.trainer.labels is None else "el2n", None
        found = scored.reduce(over_runs, *(f"{run}.{field}" for run in columns), times=times)
        loss = scored.reduce(mean_over, *(f"{run}.nll_mean" for run in columns))
        scored = scored.bind(score=found.mean, spread=found.spread, loss=loss, length=length)
        between = {"rank correlation between runs": found.agreement} if len(runs) > 1 else {}
        facts = {**between, "rank correlation with the loss": scored.reduce(spearman, "score", "loss")}
        return scored, facts

    def _forgotten(self, usable: Subset, runs: Sequence[Run]) -> tuple[Subset, dict[str, Any]]:
        """The samples, scored by how often each run forgot them in training, and facts of the runs."""
        counts = {f"run_{number}": run for number, run in enumerate(forgotten(runs, usable.ids), start=1)}
        scored = usable.bind(**counts).having(*counts)
        found = over_runs(*(scored.values(run) for run in counts))
        never = int((found.mean == self.trainer.epochs).sum())
        between = {"rank correlation between runs": found.agreement} if len(runs) > 1 else {}
        facts = {**between, "samples never predicted correctly": never}
        return scored.bind(score=found.mean, spread=found.spread), facts
