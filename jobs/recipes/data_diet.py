"""Deep Learning on a Data Diet (Paul et al. 2021, arXiv 2107.07075), and for the fine-tuning of language models as
When Less is More (Marion et al. 2023, arXiv 2309.04564) has it for their pretraining.

Several models are trained for a little while, each from its own seed, and a sample's score is the mean over them of how
far each still is from it. `keep` says which scores are kept: where the first paper keeps the top, of clean labels, the
second finds the middle best, and so it is here. The papers' code is for images and for pretraining; what differs, each
a field:

- Without `train.labels` a language model learns to write the responses, a class's name too, and is scored by token.
  With it (train.labels.label=FIELD train.lora=none) a classifier learns the class that the record has in the field, as
  in the first paper; all its weights are trained, and its head is drawn anew by each run's seed.
- `score` el2n is the length of the error, softmax minus one-hot, of the class or of a token; `aggregate` makes one
  number of a response's tokens: their mean (Marion's, who take all tokens; here those of the response alone), sum, or
  fro, the root of the sum of squares. It is bounded, and otherwise close to the loss, which stands beside it in
  selection.parquet; the manifest has their rank correlation, and that with the response's or the text's length.
- `score` grand is the length of the gradient of the class's loss or of the response's mean loss, so that short
  responses score higher; with `aggregate` sum, of its summed loss, so that long ones do. It is over all linear layers
  (embeddings and norms have no part; of a model with an adapter, the adapter's too), grand_lora over the adapter's A
  and B, grand_last over the head, which is another score: it ranks samples otherwise than grand does (the rank
  correlations were 0.30 to 0.68). A model that uses a layer twice, as DeBERTa-v3 does, has grand_last alone.
- `score` forgetting, of classifiers, counts how often a sample was told right in an epoch and wrong in the next (Toneva
  et al. 2019), as it came by: before its step and with dropout, as the released code counts. There a sample that was
  never right has infinitely many; here it has train.epochs, more than any other, so that runs have a mean. It wants
  more epochs than one, and the more the finer; a sample outside `share` has none.
- `runs` 3 where the papers average 10: the mean of norms, never the norm of a mean. A run starts from the base and has
  its own order, dropout, and adapter or head; a pretrained base cannot be drawn anew. Each is 424,242 seeds after the
  one before it. A sample without a score in some run has none. Its spread (standard deviation) over the runs is kept
  beside it, and the manifest says how much the runs agree.
- train.epochs 1, at a constant rate: the scores are of an early moment of a training, not of the end of a short one.
  The paper's 20 epochs of 200 have no counterpart here. Before an epoch's end scores of pretrained models are
  unreliable (Fayyaz et al. 2022, arXiv 2211.05610), and GraNd of untrained ones is not reproducible (Kirsch 2023, arXiv
  2303.14753): neither is offered, and grand_lora refuses an adapter whose B is still 0. `train` fits an adapter;
  train.lora=null trains all weights. `share` is the part of the samples that each run sees, the same for all, drawn by
  `seed`.
- `trained` names folders that runs have left before, adapters of train.base or, with train.lora=null, whole models:
  they are the runs, and nothing is trained.
- `keep` top, middle, bottom, or window: from the lowest up, those after the first `offset` (a share of the scored
  samples), so that the hardest, which are often wrong, stay out. Kept are listed hardest first by top and window,
  easiest first by bottom, from the middle outwards by middle. Ties go by id; the released code's go by chance.
- `label` names a field of the record, the trained one unless it is given: the manifest says how many samples of each
  of its classes are kept, as keeping the hardest can take a class away.
- A sample with nothing to score, such as one without a class, is counted and never kept.
- Margins are not here, nor means over moments of one run; slots are for `nlu_diet`.
- train.batch is 128, or less where an epoch would have fewer than 16 steps (Finetune.batch).
- `--as-published` averages 10 runs of all weights, in batches of 128, scores in float32 and keeps the top half; the
  papers' models have no use here.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import Field as Limits
from pydantic.dataclasses import dataclass

from jobs.engine.pool.pool import Pool
from jobs.engine.pool.selection import Column, Selection
from jobs.engine.recipe.recipe import Budget, Later, Recipe, Step
from jobs.engine.terminal.errors import UsageError
from jobs.methods.classified import classified, forgotten
from jobs.methods.hardness import hardness
from operators.base import STRICT, Operator
from operators.checkpoint import Checkpoint
from operators.field import Field
from operators.kernels import data_diet
from operators.kernels.correlation import spearman
from operators.kernels.sampling import random_order
from operators.losses.loss import Loss
from operators.models.precision import Precision
from operators.supervision.labels import Labels
from operators.training.finetune import Finetune

SEED_STEP = 424_242

EARLY = Finetune(Checkpoint("Qwen/Qwen3-1.7B-Base"), epochs=1, schedule="constant")


class Scored(NamedTuple):
    """What the runs say of samples."""

    pool: Pool
    ids: np.ndarray
    """Those that have a score; all else is aligned with them."""
    found: data_diet.OverRuns
    details: dict[str, Column]
    facts: dict[str, Any]


@dataclass(frozen=True, config=STRICT)
class DataDiet(Recipe):
    """Keep samples by how far models early in their training are from them."""

    published: ClassVar = {
        "runs": 10,
        "keep": "top",
        "train.lora": None,
        "train.batch": 128,
        "precision": "float32",
    }

    budget: Budget = "50%"
    score: Literal["el2n", "grand", "grand_lora", "grand_last", "forgetting"] = "el2n"
    aggregate: Literal["mean", "sum", "fro"] = "mean"
    runs: int = Limits(default=3, ge=1)
    train: Finetune = EARLY
    share: float = Limits(default=1.0, gt=0, le=1)
    trained: tuple[str, ...] = ()
    keep: data_diet.Keep = "middle"
    offset: float | None = Limits(default=None, ge=0, lt=1)
    label: Field | None = None
    precision: Precision = "auto"

    def steps(self) -> dict[str, Step]:
        """What tells which samples can be trained on, the base's loss or the class; the training; the runs' scores."""
        steps = super().steps()
        if label := self._label():
            steps["label"] = label
        if self.trained:
            steps.pop("train")
            return {**steps, **self._scores(self.train, map(Checkpoint, self.trained))}
        if self.train.labels is None:
            steps = {"base": self._base(), **steps}
        scores = self._scores(self.train, [self.train.base] * self.runs)
        return {**steps, **{name: Later(type(score).__name__) for name, score in scores.items()}}

    def refusals(self) -> Iterator[str]:
        """What does not go together."""
        if (self.keep == "window") != (self.offset is not None):
            yield "keep=window wants an offset (offset=0.3), and nothing else takes one"
        if self.keep == "window" and self.budget.startswith("tokens:"):
            yield "keep=window takes a budget in samples or per cent"
        if self.train.labels is not None:
            yield from self._refused_of_a_classifier(self.train.labels)
        if self.aggregate == "fro" and self.score != "el2n":
            yield "aggregate=fro is of token errors (score=el2n); a gradient's length has mean or sum"
        if self.score == "grand_lora" and self.train.lora is None:
            yield "score=grand_lora wants an adapter, and train.lora is null; set score=grand"
        if self.score == "forgetting":
            yield from self._refused_of_forgetting()

    def _refused_of_forgetting(self) -> Iterator[str]:
        if self.train.labels is None:
            yield "score=forgetting is of a classifier: name the record's class by train.labels.label=FIELD"
        if self.trained:
            yield "score=forgetting is counted while runs are trained: leave trained empty"
        if self.train.epochs < 2:
            yield "score=forgetting is told from one epoch to the next: set train.epochs to 2 or more"

    def _refused_of_a_classifier(self, labels: Labels) -> Iterator[str]:
        if self.train.lora is not None:
            yield "a classifier is trained whole: set train.lora=none"
        if self.aggregate != "mean":
            yield f"aggregate={self.aggregate} is of a response's tokens; a class has one error: set mean"
        if labels.slots is not None:
            yield "a data diet is of classes: set train.labels.slots=none, or take nlu_diet"

    def select(self, pool: Pool) -> Selection:
        """Train, score and again; then the mean score, and the part of its order that is wanted."""
        pool, usable, trainer = self._usable(self.counted(pool))
        runs = [(Checkpoint(run),) for run in self.trained] or self._trained(pool, usable, trainer)
        by = self._forgotten if self.score == "forgetting" else self._measured
        pool, ids, found, details, facts = by(pool, usable, trainer, runs)
        kept = self._kept(pool, ids, found.mean)
        return pool.select(
            kept,
            score=(ids, found.mean),
            reasons={
                "not scored": np.arange(pool.samples),
                f"scored, and not in the part that is kept ({self.keep})": ids,
                f"in the part that is kept ({self.keep})": kept,
            },
            details={"spread": (ids, found.spread), **details},
            facts={
                "not scored": pool.samples - len(ids),
                "rank correlation between runs": found.agreement,
                **facts,
                **self._by_label(pool, kept),
            },
        )

    def _usable(self, pool: Pool) -> tuple[Pool, np.ndarray, Finetune]:
        """The ids that can be trained on and scored, and the training, which names a classifier's labels."""
        if self.train.labels is not None:
            pool, ids, named = classified(pool, self.train.labels)
            return pool, ids, replace(self.train, labels=named)
        if self.trained:
            return pool, np.arange(pool.samples), self.train
        pool = pool.map(base=self._base())
        return pool, pool.valid("base"), self.train

    def _base(self) -> Loss:
        return Loss(self.train.base, None, self.train.template, self.train.max_tokens, self.precision)

    def _trained(self, pool: Pool, usable: np.ndarray, trainer: Finetune) -> list[tuple[Checkpoint, ...]]:
        """The epochs of each run."""
        drawn = usable[random_order(len(usable), self.seed)[: math.ceil(self.share * len(usable))]]
        seeds = [trainer.seed + self.seed + SEED_STEP * run for run in range(self.runs)]
        return [pool.train(replace(trainer, seed=seed), drawn) for seed in seeds]

    def _measured(
        self, pool: Pool, usable: np.ndarray, trainer: Finetune, runs: Sequence[Sequence[Checkpoint]]
    ) -> Scored:
        """By what each run's last epoch is from a sample."""
        columns = self._scores(trainer, [epochs[-1] for epochs in runs])
        pool = pool.map(only=usable, **columns)
        ids = np.intersect1d(usable, pool.valid(*columns))
        tokens = pool.values("run_1.tokens", ids)
        field, times = "norm", tokens if self.aggregate == "sum" else None
        if self.score == "el2n":
            field, times = f"el2n_{self.aggregate}" if trainer.labels is None else "el2n", None
        found = pool.reduce(data_diet.over_runs, *(f"{run}.{field}" for run in columns), only=ids, times=times)
        loss = np.mean([pool.values(f"{run}.nll_mean", ids) for run in columns], axis=0)
        part = "response" if trainer.labels is None else "text"
        facts = {
            "truncated": int(pool.values("run_1.truncated", ids).sum()),
            "rank correlation with the loss": spearman(found.mean, loss),
            f"rank correlation with {part} length": spearman(found.mean, tokens),
        }
        return Scored(pool, ids, found, {"loss": (ids, loss), f"{part}_tokens": (ids, tokens)}, facts)

    def _forgotten(
        self, pool: Pool, usable: np.ndarray, trainer: Finetune, runs: Sequence[Sequence[Checkpoint]]
    ) -> Scored:
        """By what each run forgot while it was trained."""
        scores = forgotten(runs, pool.samples)
        ids = usable[np.isfinite(scores[:, usable]).all(axis=0)]
        found = data_diet.over_runs(*scores[:, ids])
        never = int((found.mean == trainer.epochs).sum())
        return Scored(pool, ids, found, {}, {"never told right": never})

    def _scores(self, trainer: Finetune, runs: Iterable[Checkpoint]) -> dict[str, Operator]:
        """The columns run_1, run_2 …, each the score under what a run has left; forgetting has none."""
        if self.score == "forgetting":
            return {}
        scores = (hardness(trainer, last, self.score, self.precision) for last in runs)
        return {f"run_{number}": score for number, score in enumerate(scores, start=1)}

    def _kept(self, pool: Pool, ids: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """The ids that are kept, best first; UsageError for a window that goes beyond the highest score."""
        if self.offset is None:
            return self.within(pool, lambda k: ids[data_diet.kept(scores, k, self.keep)])
        try:
            return ids[data_diet.kept(scores, self.size(pool), "window", offset=round(self.offset * len(ids)))]
        except ValueError as error:
            raise UsageError(f"{error}: set offset or budget lower") from None

    def _label(self) -> Field | None:
        labels = self.train.labels
        return self.label if self.label or labels is None else Field(labels.label)

    def _by_label(self, pool: Pool, kept: np.ndarray) -> dict[str, dict[str, int]]:
        """The fact of how many samples of each class are kept, where there is a label."""
        label = self._label()
        if label is None:
            return {}
        pool = pool.map(label=label)
        ids = pool.valid("label")
        return {"kept by label": data_diet.counts_by_label(pool.values("label", ids), np.isin(ids, kept))}
