"""Deep Learning on a Data Diet (Paul et al. 2021, arXiv 2107.07075), and for the fine-tuning of language models as
When Less is More (Marion et al. 2023, arXiv 2309.04564) has it for their pretraining.

1. Train several models for a little while, each from its own seed.
2. Under each of them score every sample by how far the model still is from it.
3. A sample's score is the mean over the models.
4. Keep a part of the order by score: the top in the first paper, of clean labels; the middle in the second.

Before use: without `train.labels` a language model learns to write the responses and is scored by token. With it
(train.labels.label=FIELD train.lora=none) a classifier learns the class in that field, as in the first paper. A
pretrained base cannot be drawn anew. Scores of an untrained model, or from before the end of an epoch, are not reliable
(Kirsch 2023, arXiv 2303.14753; Fayyaz et al. 2022, arXiv 2211.05610), so that neither is offered. Ties go by id.
"""

from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field as Limits
from pydantic.dataclasses import dataclass

from jobs.engine.recipe import Budget, Later, Pool, Ranking, Recipe, Selection, Step, Subset
from jobs.engine.terminal.errors import UsageError
from jobs.methods.classified import kept_by_label
from jobs.methods.early_runs import Aggregate, EarlyRuns, Score
from operators.base import STRICT
from operators.checkpoint import Checkpoint
from operators.field import Field
from operators.kernels import data_diet
from operators.models.precision import Precision
from operators.training.finetune import Finetune

EARLY = Finetune(Checkpoint("Qwen/Qwen3-1.7B-Base"), epochs=1, schedule="constant")


@dataclass(frozen=True, config=STRICT)
class DataDiet(Recipe):
    """Keep samples by how far models early in their training are from them."""

    published: ClassVar = {"runs": 10, "keep": "top", "train.lora": None, "train.batch": 128, "precision": "float32"}

    budget: Budget = "50%"
    score: Score = "el2n"
    """el2n: the length of the error, softmax minus one-hot, of the class or of a token. grand: the length of the
    gradient over all linear layers, by which short responses score higher; grand_lora: over the adapter's A and B;
    grand_last: over the head, which ranks samples otherwise, and is all that a model with shared layers has.
    forgetting: how often a classifier predicted a sample correctly in an epoch and not in the next (Toneva et al.
    2019); one that was never correct has train.epochs, not infinity."""
    aggregate: Aggregate = "mean"
    """What becomes of a response's tokens: the mean (Marion's, who take all tokens), the sum, by which long responses
    score higher, or fro, the root of the sum of squares."""
    runs: int = Limits(default=3, ge=1)
    """The number of models; the papers average 10. The mean is of norms, never the norm of a mean."""
    train: Finetune = EARLY
    """The short training, at a constant rate: of an adapter, or of all weights with train.lora=null, as published. A
    classifier's head is drawn anew by each run's seed. The paper's 20 epochs of 200 have no counterpart here."""
    share: float = Limits(default=1.0, gt=0, le=1)
    """The part of the samples that each run is trained on, the same for all, drawn by `seed`."""
    trained: tuple[str, ...] = ()
    """Folders of earlier runs, adapters of train.base or, with train.lora=null, whole models, in place of training."""
    keep: data_diet.Keep = "middle"
    """The part of the order: top and window list the hardest first, bottom the easiest, middle goes outwards from the
    middle. A window begins after the first `offset` from the lowest up."""
    offset: float | None = Limits(default=None, ge=0, lt=1)
    """Where the window begins, as a share of the scored samples: the hardest, which are often wrong, stay out."""
    label: Field | None = None
    """The field by whose values the kept are counted, as a class can be lost; by default the trained one."""
    precision: Precision = "auto"
    """The precision of the scores."""

    def steps(self) -> dict[str, Step]:
        """What says which samples can be trained on, the base's loss or the class; the training; the runs' scores."""
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
        """What does not go together."""
        if (self.keep == "window") != (self.offset is not None):
            yield "keep=window wants an offset (offset=0.3), and nothing else takes one"
        if self.keep == "window" and self.budget.startswith("tokens:"):
            yield "keep=window takes a budget in samples or percent"
        yield from self._runs().refusals()

    def select(self, pool: Pool) -> Selection:
        """Train, score and again; then the mean score, and the part of its order that is wanted."""
        scored, facts = self._runs().scored(pool)
        kept = self._kept(pool, scored)
        length = "response_tokens" if self.train.labels is None else "text_tokens"
        details = {"spread": "spread", "loss": "loss", length: "length"}
        return pool.selection(
            kept,
            score="score",
            because={f"not in the part that is kept ({self.keep})": scored, f"in that part ({self.keep})": kept},
            details={name: scored.column(column) for name, column in details.items() if column in scored.columns},
            facts={**facts, **kept_by_label(pool, self._label(), kept)},
        )

    def _runs(self) -> EarlyRuns:
        options = (self.share, self.trained, self.seed, self.precision)
        return EarlyRuns(self.score, self.aggregate, self.runs, self.train, *options)

    def _kept(self, pool: Pool, scored: Subset) -> Ranking:
        """The kept samples; UsageError for a window that goes beyond the highest score."""
        if self.offset is None:
            return self.within(pool, lambda k: scored.reduce(data_diet.kept, "score", count=k, keep=self.keep))
        begin, size = round(self.offset * len(scored)), self.size(pool)
        if begin + size > len(scored):
            raise UsageError(f"{size:,} after the first {begin:,} of {len(scored):,} scores: lower offset or budget")
        return scored.reduce(data_diet.kept, "score", count=size, keep="window", offset=begin)

    def _label(self) -> Field | None:
        labels = self.train.labels
        return self.label if self.label or labels is None else Field(labels.label)
