"""LoBaSS: Gauging Learnability in Supervised Fine-tuning Data (Zhou et al. 2023, arXiv 2310.13008), whose second
version is DavIR: Data Selection via Implicit Reward for LLMs (ACL 2025, under the same number).

A base model is fine-tuned on all candidates, and a sample is worth the part of its response's loss that this takes
away: one minus the loss under the fine-tuned model, the reference, over the loss under the base. The highest are kept.
No code was released by the authors; what the paper fixes or leaves open is a field:

- `version` v2 and v1_normalised are that share, which divides the length of a response out; v1_unnormalised is the
  difference of the losses, of their means over tokens or, with `reduction` sum, of their sums: the longest responses
  then lead. What it is divided by, base or reference, changes the score and never the order. The manifest has the
  score's rank correlation with the response's length, by which the two can be told apart.
- `train` is the reference's fine-tuning: all weights, 3 epochs with the numbers of Stanford Alpaca's training, taken to
  be the authors' too, and a preamble worded by Winnow. `share` is the part of the candidates that it sees, drawn by
  `seed`; the paper's is all of them, and a sample that it did not see is judged by what others teach. train.lora.rank=8
  trains an adapter instead.
- `reference` is a model that was fine-tuned before, `adapter` a LoRA adapter of the base (of `reference`, with both);
  nothing is trained then. It must cut texts into the tokens that the base does; other counts end the run.
- The loss is over the response's tokens, of all turns where there are several, the end of the sequence included; a
  sample longer than train.max_tokens is scored by what is left of it (`truncated`). A sample with nothing left to
  score, or whose loss is not finite or 0 under the base, is counted and never kept.
- The paper drops nothing but by rank. `least_score` 0 drops what fine-tuning made worse, `least_loss` (nats a token)
  and `least_tokens` what is learnt already or hardly there: a share of next to nothing can rank first by chance, which
  is why the manifest counts the kept samples with a base loss below 0.3.
- The reference has seen each duplicate that many times; exact ones are gone before, near ones are not.
- `budget` is 6 % and the base a model of today; `--as-published` keeps 3,000 (6 % of Alpaca) by LLaMA-7B.
"""

import math
from dataclasses import replace
from typing import ClassVar

import numpy as np
from pydantic import Field as Limits
from pydantic.dataclasses import dataclass

from jobs.engine.pool.pool import Pool
from jobs.engine.pool.selection import Selection
from jobs.engine.recipe.recipe import Budget, Later, Recipe, Step
from operators.base import STRICT
from operators.checkpoint import Checkpoint
from operators.kernels.correlation import spearman
from operators.kernels.loss_based import Reduction, Version, learnability, worth_learning
from operators.kernels.ranking import ranked
from operators.kernels.sampling import random_order
from operators.losses.loss import Loss
from operators.models.precision import Precision
from operators.training.finetune import LIKE_ALPACA, Finetune

LEARNT = 0.3
"""A base loss, in nats a token, below which there is little left to learn."""


@dataclass(frozen=True, config=STRICT)
class LoBaSS(Recipe):
    """Keep what fine-tuning takes the largest part of the loss from."""

    published: ClassVar = {"budget": "3000", "train.base.name": "huggyllama/llama-7b"}

    budget: Budget = "6%"
    train: Finetune = LIKE_ALPACA
    share: float = Limits(default=1.0, gt=0, le=1)
    reference: Checkpoint | None = None
    adapter: Checkpoint | None = None
    version: Version = "v2"
    reduction: Reduction = "mean"
    least_score: float | None = None
    least_loss: float = Limits(default=0.0, ge=0)
    least_tokens: int = Limits(default=1, ge=1)
    precision: Precision = "auto"

    def steps(self) -> dict[str, Step]:
        """The loss under the base; the fine-tuning, unless there is a reference beforehand; the loss under that."""
        given = self._given()
        steps = {"base": self._loss(self.train.base, None), **super().steps(), "reference": given or Later("Loss")}
        return {name: step for name, step in steps.items() if name != "train" or not given}

    def select(self, pool: Pool) -> Selection:
        """The loss before, the fine-tuning, the loss after; the largest relative fall first."""
        pool = self.counted(pool.map(base=self._loss(self.train.base, None)))
        usable = pool.valid("base")
        pool = pool.map(reference=self._given() or self._trained(pool, usable), only=usable)
        ids = pool.valid("base", "reference")
        columns = [f"{model}.{field}" for model in ("base", "reference") for field in ("nll_sum", "tokens")]
        scores = pool.reduce(learnability, *columns, only=ids, version=self.version, reduction=self.reduction)
        ids, scores = ids[np.isfinite(scores)], scores[np.isfinite(scores)]
        before, after = (pool.values(f"{model}.nll_mean", ids) for model in ("base", "reference"))
        tokens = pool.values("base.tokens", ids)
        floors = {name: getattr(self, name) for name in ("least_score", "least_loss", "least_tokens")}
        wanted = worth_learning(scores, before, tokens, **floors)
        order = ids[wanted][ranked(scores[wanted])]
        kept = self.within(pool, lambda k: order[:k])
        return pool.select(
            kept,
            score=(ids, scores),
            reasons={
                "not scored": np.arange(pool.samples),
                "score, loss or length below the least wanted": ids[~wanted],
                "less learnable than the kept ones": order,
                "among the most learnable": kept,
            },
            details={"base_loss": (ids, before), "reference_loss": (ids, after), "response_tokens": (ids, tokens)},
            facts={
                "not scored": pool.samples - len(ids),
                "made worse by fine-tuning": int((scores < 0).sum()),
                f"kept with a base loss below {LEARNT:g}": int((before[np.isin(ids, kept)] < LEARNT).sum()),
                "truncated": int(pool.values("base.truncated", ids).sum()),
                "rank correlation with response length": spearman(scores, tokens),
            },
        )

    def _given(self) -> Loss | None:
        """The loss under a reference that is there beforehand."""
        return self._loss(self.reference or self.train.base, self.adapter) if self.reference or self.adapter else None

    def _loss(self, model: Checkpoint, adapter: Checkpoint | None) -> Loss:
        return Loss(model, adapter, self.train.template, self.train.max_tokens, self.precision)

    def _trained(self, pool: Pool, usable: np.ndarray) -> Loss:
        """The loss under the last epoch of a fine-tuning on the usable samples, or on a share of them."""
        drawn = random_order(len(usable), self.seed)[: math.ceil(self.share * len(usable))]
        last = pool.train(replace(self.train, seed=self.train.seed + self.seed), usable[drawn])[-1]
        return self._loss(last, None) if self.train.lora is None else self._loss(self.train.base, last)
