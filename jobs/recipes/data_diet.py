"""Deep Learning on a Data Diet (Paul et al. 2021, arXiv 2107.07075), for the fine-tuning of language models as
When Less is More (Marion et al. 2023, arXiv 2309.04564) has it for their pretraining.

Several models are trained for a little while, each from its own seed, and a sample's score is the mean over them of how
far each still is from it. `keep` says which scores are kept: where the first paper keeps the top, of clean labels, the
second finds the middle best, and so it is here. The papers' code is for images and for pretraining; what differs, each
a field:

- `score` el2n is the length of the error, softmax minus one-hot, of a token; `aggregate` makes one number of a
  response's tokens: their mean (Marion's, who take all tokens; here those of the response alone), sum, or fro, the root
  of the sum of squares. It is bounded, and otherwise close to the loss, which stands beside it in selection.parquet;
  the manifest has their rank correlation, and that with the response's length.
- `score` grand is the length of the gradient of the response's mean loss, so that short responses score higher; with
  `aggregate` sum, of its summed loss, so that long ones do. It is over all linear layers (embeddings and norms have no
  part; of a model with an adapter, the adapter's too), grand_lora over the adapter's A and B, grand_last over the head.
- `runs` 3 where the papers average 10: the mean of norms, never the norm of a mean. A run starts from the base and has
  its own order, dropout and adapter; a pretrained base cannot be drawn anew. Each is 424,242 seeds after the one before
  it. A sample without a score in some run has none. Its spread (standard deviation) over the runs is kept beside it,
  and the manifest says how much the runs agree.
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
- A classification set is taken as it comes from ingest: the text asks, its label's words answer, and p is over the
  vocabulary and not over the classes. A pool trains no classifier's head, so the papers' scores of classes are not
  here (operators/kernels/token_stats.py has their EL2N). `label` names the record's field with the class, and the
  manifest then says how many of each are kept, as keeping the hardest can take a class away.
- A sample with nothing to score is counted and never kept.
- Forgetting events are not here, though kernels/data_diet.py counts them: they are of the training's own mini-batches,
  before each update and with its dropout, and training writes no outcomes down; nor does what an epoch's checkpoint
  says afterwards, a loss and an error, tell right from wrong. Nor are margins, and means over moments of one run.
- `--as-published` averages 10 runs of all weights and keeps the top half; the papers' models have no use here.
"""

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field as Limits
from pydantic.dataclasses import dataclass

from jobs.engine.errors import UsageError
from jobs.engine.pool import Pool
from jobs.engine.recipe import Budget, Recipe
from jobs.engine.selection import Selection
from operators.base import STRICT, Operator
from operators.checkpoint import Checkpoint
from operators.field import Field
from operators.finetune import Finetune
from operators.gradient import GradientNorm
from operators.kernels import data_diet
from operators.kernels.correlation import spearman
from operators.kernels.sampling import random_order
from operators.loss import Loss, Precision

SEED_STEP = 424_242

EARLY = Finetune(Checkpoint("Qwen/Qwen3-1.7B-Base"), epochs=1, schedule="constant")

LAYERS: dict[str, Literal["adapter", "linear", "head"]] = {
    "grand": "linear",
    "grand_lora": "adapter",
    "grand_last": "head",
}


@dataclass(frozen=True, config=STRICT)
class DataDiet(Recipe):
    """Keep samples by how far models early in their training are from them."""

    published: ClassVar = {"runs": 10, "keep": "top", "train.lora": None}

    budget: Budget = "50%"
    score: Literal["el2n", "grand", "grand_lora", "grand_last"] = "el2n"
    aggregate: Literal["mean", "sum", "fro"] = "mean"
    runs: int = Limits(default=3, ge=1)
    train: Finetune = EARLY
    share: float = Limits(default=1.0, gt=0, le=1)
    trained: tuple[str, ...] = ()
    keep: data_diet.Keep = "middle"
    offset: float | None = Limits(default=None, ge=0, lt=1)
    label: Field | None = None
    precision: Precision = "auto"

    def operators(self) -> dict[str, Operator]:
        """The runs' scores where they have been trained; else the base's loss, which tells what can be trained on."""
        base = Loss(self.train.base, None, self.train.template, self.train.max_tokens, self.precision)
        return {**(self._scores([Checkpoint(run) for run in self.trained]) or {"base": base}), **super().operators()}

    def trainers(self) -> dict[str, Finetune]:
        """The training of a run, unless there are runs beforehand."""
        return {} if self.trained else super().trainers()

    def select(self, pool: Pool) -> Selection:
        """Train, score and again; then the mean score, and the part of its order that is wanted."""
        self._refuse_what_does_not_go_together()
        pool = self.counted(pool)
        runs, usable = self._scores([Checkpoint(run) for run in self.trained]), np.arange(pool.samples)
        if not runs:
            pool = pool.map(base=self.operators()["base"])
            usable = pool.valid("base")
            runs = self._scores([self._trained(pool, usable, run) for run in range(self.runs)])
        pool = pool.map(only=usable, **runs)
        ids = np.intersect1d(usable, pool.valid(*runs))
        tokens = pool.values("run_1.tokens", ids)
        field = f"el2n_{self.aggregate}" if self.score == "el2n" else "norm"
        summed = tokens if field == "norm" and self.aggregate == "sum" else None
        found = pool.reduce(data_diet.over_runs, *(f"{run}.{field}" for run in runs), only=ids, times=summed)
        loss = np.mean([pool.values(f"{run}.nll_mean", ids) for run in runs], axis=0)
        kept = self._kept(pool, ids, found.mean)
        return pool.select(
            kept,
            score=(ids, found.mean),
            reasons={
                "not scored": np.arange(pool.samples),
                f"scored, and not in the part that is kept ({self.keep})": ids,
                f"in the part that is kept ({self.keep})": kept,
            },
            details={"spread": (ids, found.spread), "loss": (ids, loss), "response_tokens": (ids, tokens)},
            facts={
                "not scored": pool.samples - len(ids),
                "truncated": int(pool.values("run_1.truncated", ids).sum()),
                "rank correlation between runs": found.agreement,
                "rank correlation with the loss": spearman(found.mean, loss),
                "rank correlation with response length": spearman(found.mean, tokens),
                **self._by_label(pool, kept),
            },
        )

    def _refuse_what_does_not_go_together(self) -> None:
        """UsageError before anything is trained."""
        if (self.keep == "window") != (self.offset is not None):
            raise UsageError("keep=window wants an offset (offset=0.3), and nothing else takes one")
        if self.keep == "window" and self.budget.startswith("tokens:"):
            raise UsageError("keep=window takes a budget in samples or per cent")
        if self.aggregate == "fro" and self.score != "el2n":
            raise UsageError("aggregate=fro is of token errors (score=el2n); a gradient's length has mean or sum")
        if self.score == "grand_lora" and self.train.lora is None:
            raise UsageError("score=grand_lora wants an adapter, and train.lora is null; set score=grand")

    def _trained(self, pool: Pool, usable: np.ndarray, run: int) -> Checkpoint:
        """What a run leaves at its last epoch."""
        drawn = random_order(len(usable), self.seed)[: math.ceil(self.share * len(usable))]
        trainer = replace(self.train, seed=self.train.seed + self.seed + SEED_STEP * run)
        return pool.train(trainer, usable[drawn])[-1]

    def _scores(self, runs: Iterable[Checkpoint]) -> dict[str, Operator]:
        """The columns run_1, run_2 …, each the score under what a run has left."""
        return {f"run_{number}": self._score(last) for number, last in enumerate(runs, start=1)}

    def _score(self, last: Checkpoint) -> Operator:
        model, adapter = (last, None) if self.train.lora is None else (self.train.base, last)
        template, tokens = self.train.template, self.train.max_tokens
        if self.score == "el2n":
            return Loss(model, adapter, template, tokens, self.precision)
        return GradientNorm(model, adapter, LAYERS[self.score], template, tokens, self.precision)

    def _kept(self, pool: Pool, ids: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """The ids that are kept, best first; UsageError for a window that goes beyond the highest score."""
        if self.offset is None:
            return self.within(pool, lambda k: ids[data_diet.kept(scores, k, self.keep)])
        try:
            return ids[data_diet.kept(scores, self.size(pool), "window", offset=round(self.offset * len(ids)))]
        except ValueError as error:
            raise UsageError(f"{error}: set offset or budget lower") from None

    def _by_label(self, pool: Pool, kept: np.ndarray) -> dict[str, dict[str, int]]:
        """The fact of how many samples of each class are kept, where a label is asked for."""
        if self.label is None:
            return {}
        pool = pool.map(label=self.label)
        ids = pool.valid("label")
        return {"kept by label": data_diet.counts_by_label(pool.values("label", ids), np.isin(ids, kept))}
