"""Deep Learning on a Data Diet (Paul et al. 2021, arXiv 2107.07075), applied to the fine-tuning of language models in
the way When Less is More (Marion et al. 2023, arXiv 2309.04564) applies it to their pretraining.

1. Train several models for a short time, each from its own seed.
2. Under each model, score every sample by its error or gradient norm.
3. The score of a sample is the mean over the models.
4. Rank by score and keep a part: the top in the first paper, whose labels are clean; the middle in the second.

Before use: without `train.labels`, a language model learns the responses, and its tokens are scored. With it
(train.labels.label=FIELD train.lora=none), a classifier learns the class in that field, as in the first paper. A
pretrained base has only one initialisation. Scores of an untrained model, or from before the end of an epoch, are not
reliable (Kirsch 2023, arXiv 2303.14753; Fayyaz et al. 2022, arXiv 2211.05610), so neither is offered. Ties go by id.
"""

from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field as Limits
from pydantic.dataclasses import dataclass

from jobs.engine.recipe import Budget, Later, Pool, Ranking, Recipe, Selection, Step, Subset
from jobs.engine.terminal.errors import UsageError
from jobs.methods.data_diets.classified import kept_by_label
from jobs.methods.data_diets.early_runs import Aggregate, DietScore, EarlyRuns
from operators.base import STRICT
from operators.checkpoint import Checkpoint
from operators.field import Field
from operators.kernels import data_diet
from operators.models.precision import Precision
from operators.training.finetune import Finetune

EARLY = Finetune(Checkpoint("Qwen/Qwen3-1.7B-Base"), epochs=1, schedule="constant")


@dataclass(frozen=True, config=STRICT)
class DataDiet(Recipe):
    """Keep samples by their error, gradient norm or forgetting in models early in training."""

    published: ClassVar = {"runs": 10, "keep": "top", "train.lora": None, "train.batch": 128, "precision": "float32"}

    budget: Budget = "50%"
    score: DietScore = "el2n"
    """el2n: the L2 norm of the error, softmax minus one-hot, of the class or of a token. grand: the gradient norm over
    all linear layers, which is higher for short responses; grand_lora: over the adapter's A and B; grand_last: over the
    head, which ranks samples differently and is the only option for a model with shared layers. forgetting: how often a
    classifier predicted a sample correctly in an epoch and incorrectly in the next (Toneva et al. 2019); a sample that
    was never correct gets train.epochs, not infinity."""
    aggregate: Aggregate = "mean"
    """How the tokens of a response are combined: the mean (as in Marion et al., but they take all tokens), the sum,
    which is higher for long responses, or fro, the square root of the sum of squares."""
    runs: int = Limits(default=3, ge=1)
    """The number of models; the papers average 10. The score is the mean of the norms, not the norm of a mean."""
    train: Finetune = EARLY
    """The short training, at a constant rate: of an adapter, or of all weights with train.lora=null, as published. Each
    run's seed initialises a classifier's head. The paper's 20 epochs of 200 have no counterpart here."""
    share: float = Limits(default=1.0, gt=0, le=1)
    """The share of the samples to train on, drawn with `seed`; it is the same samples for all runs."""
    trained: tuple[str, ...] = ()
    """Folders of earlier runs to use instead of training: adapters of train.base, or models with train.lora=null."""
    keep: data_diet.Keep = "middle"
    """The part to keep. top: the highest scores, highest first. bottom: the lowest, lowest first. middle: from the
    middle rank outwards. window: the scores after the lowest `offset`, highest first."""
    offset: float | None = Limits(default=None, ge=0, lt=1)
    """Where the window begins, as a share of the scored samples. The hardest, which are often wrong, are left out."""
    label: Field | None = None
    """The field whose values are counted among the kept samples, because a class can get lost; None: train.labels'."""
    precision: Precision = "auto"
    """The precision of the scores."""

    def steps(self) -> dict[str, Step]:
        """The column that shows which samples can be trained on (loss or class), the training, and the scores."""
        runs, steps = self._runs(), super().steps()
        if label := self._label():
            steps["label"] = label
        if self.trained:
            steps.pop("train")
            return {**steps, **runs.scores(map(Checkpoint, self.trained))}
        if self.train.labels is None:
            steps = {"base": runs.base(), **steps}
        scores = runs.scores([self.train.base] * self.runs)
        return {**steps, **{name: Later(type(score).__name__) for name, score in scores.items()}}

    def refusals(self) -> Iterator[str]:
        """Yields a message per contradiction between fields."""
        if (self.keep == "window") != (self.offset is not None):
            yield "keep=window needs an offset (offset=0.3), and no other part takes one"
        if self.keep == "window" and self.budget.startswith("tokens:"):
            yield "keep=window takes a budget in samples or percent"
        yield from self._runs().refusals()

    def select(self, pool: Pool) -> Selection:
        """Trains and scores in every run, then keeps a part of the ranking by mean score."""
        scored, facts = self._runs().scored(pool)
        kept = self._kept(pool, scored)
        length = "response_tokens" if self.train.labels is None else "text_tokens"
        details = {"spread": "spread", "loss": "loss", length: "length"}
        return pool.selection(
            kept,
            score="score",
            because={f"not in the part that is kept ({self.keep})": scored, f"in the kept part ({self.keep})": kept},
            details={name: scored.column(column) for name, column in details.items() if column in scored.columns},
            facts={**facts, **kept_by_label(pool, self._label(), kept)},
        )

    def _runs(self) -> EarlyRuns:
        options = (self.share, self.trained, self.seed, self.precision)
        return EarlyRuns(self.score, self.aggregate, self.runs, self.train, *options)

    def _kept(self, pool: Pool, scored: Subset) -> Ranking:
        """The kept samples; UsageError for a window that extends beyond the highest score."""
        if self.offset is None:
            return self.within(pool, lambda k: scored.reduce(data_diet.kept, "score", count=k, keep=self.keep))
        begin, size = round(self.offset * len(scored)), self.budget_size(pool)
        if begin + size > len(scored):
            raise UsageError(f"no {size:,} scores after the first {begin:,} of {len(scored):,}: lower offset or budget")
        return scored.reduce(data_diet.kept, "score", count=size, keep="window", offset=begin)

    def _label(self) -> Field | None:
        labels = self.train.labels
        return self.label if self.label or labels is None else Field(labels.label)
