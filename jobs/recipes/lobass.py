"""LoBaSS: Gauging Learnability in Supervised Fine-tuning Data (Zhou et al. 2023, arXiv 2310.13008), whose second
version is DavIR: Data Selection via Implicit Reward for LLMs (ACL 2025, under the same number).

1. Take the loss of each response under a base model.
2. Fine-tune the base on all candidates: the reference.
3. Take the loss of each response under the reference.
4. A sample's learnability is the part of its loss that fine-tuning takes away. Keep the highest.

Before use: no code was released, and what the paper leaves open is a field. The reference has seen each duplicate that
many times: exact ones are gone before, near ones are not. A share of next to nothing can rank first by chance, which is
why the manifest counts the kept samples with a base loss below 0.3 nats per token.
"""

import math
from dataclasses import replace
from typing import ClassVar

from pydantic import Field as Limits
from pydantic.dataclasses import dataclass

from jobs.engine.recipe import Budget, Later, Pool, Recipe, Selection, Step, Subset
from operators.base import STRICT
from operators.checkpoint import Checkpoint
from operators.kernels.loss_based import Reduction, Version, learnability, worth_learning
from operators.losses.loss import Loss
from operators.models.precision import Precision
from operators.training.finetune import LIKE_ALPACA, Finetune

LEARNT = 0.3  # nats per token, below which there is little left to learn


@dataclass(frozen=True, config=STRICT)
class LoBaSS(Recipe):
    """Keep what fine-tuning takes the largest part of the loss from."""

    published: ClassVar = {"budget": "3000", "train.base.name": "huggyllama/llama-7b"}

    budget: Budget = "6%"
    """As published it is 3,000, which is 6 % of Alpaca."""
    train: Finetune = LIKE_ALPACA
    """The fine-tuning of the reference: all weights, 3 epochs with the numbers of Stanford Alpaca's training, which are
    taken to be the authors' too, and a preamble worded by Winnow. train.lora.rank=8 trains an adapter instead. A sample
    longer than train.max_tokens is scored by what is left of it."""
    share: float = Limits(default=1.0, gt=0, le=1)
    """The part of the candidates that the reference is trained on, drawn by `seed`. The paper's is all of them: a
    sample that the reference has not seen is judged by what others teach."""
    reference: Checkpoint | None = None
    """A model that was fine-tuned before; then nothing is trained. Its tokenizer must cut texts as the base's does."""
    adapter: Checkpoint | None = None
    """A LoRA adapter of the base, or of `reference`; then nothing is trained."""
    version: Version = "v2"
    """v2 and v1_normalised are the share of the loss, which divides the length of a response out: one minus the loss
    under the reference over the loss under the base. v1_unnormalised is the difference of the losses. What it is
    divided by, base or reference, changes the score and never the order."""
    reduction: Reduction = "mean"
    """What v1_unnormalised takes the difference of: means over tokens, or sums, by which the longest responses lead."""
    least_score: float | None = None
    """The least score to keep; 0 drops what fine-tuning made worse. The paper drops nothing but by rank."""
    least_loss: float = Limits(default=0.0, ge=0)
    """The least loss under the base to keep, in nats per token: below it a response is learnt already."""
    least_tokens: int = Limits(default=1, ge=1)
    """The least number of response tokens to keep."""
    precision: Precision = "auto"
    """The precision of the losses."""

    def steps(self) -> dict[str, Step]:
        """The loss under the base; the fine-tuning, unless there is a reference beforehand; the loss under that."""
        given = self._given()
        steps = {"base": self._loss(self.train.base, None), **super().steps(), "reference": given or Later("Loss")}
        return {name: step for name, step in steps.items() if name != "train" or not given}

    def select(self, pool: Pool) -> Selection:
        """The loss before, the fine-tuning, the loss after; the largest relative fall first."""
        before = pool.map(base=self._loss(self.train.base, None))
        after = before.map(reference=self._given() or self._trained(before))
        losses = [f"{model}.{field}" for model in ("base", "reference") for field in ("nll_sum", "tokens")]
        learnt = after.reduce(learnability, *losses, version=self.version, reduction=self.reduction)
        scored = after.bind(learnability=learnt).having("learnability")
        floors = {name: getattr(self, name) for name in ("least_score", "least_loss", "least_tokens")}
        columns = [scored.values(name) for name in ("learnability", "base.nll_mean", "base.tokens")]
        wanted = scored[worth_learning(*columns, **floors)]
        kept = self.within(pool, wanted.ranked("learnability"))
        return pool.selection(
            kept,
            score="learnability",
            because={
                "score, loss or length below the least wanted": scored,
                "less learnable than the kept ones": wanted,
                "among the most learnable": kept,
            },
            details={
                "base_loss": scored.column("base.nll_mean"),
                "reference_loss": scored.column("reference.nll_mean"),
                "response_tokens": scored.column("base.tokens"),
            },
            facts={
                "made worse by fine-tuning": int((scored.values("learnability") < 0).sum()),
                f"kept with a base loss below {LEARNT:g}": int((kept.values("base.nll_mean") < LEARNT).sum()),
            },
        )

    def _given(self) -> Loss | None:
        """The loss under a reference that is there beforehand."""
        return self._loss(self.reference or self.train.base, self.adapter) if self.reference or self.adapter else None

    def _loss(self, model: Checkpoint, adapter: Checkpoint | None) -> Loss:
        return Loss(model, adapter, self.train.template, self.train.max_tokens, self.precision)

    def _trained(self, usable: Subset) -> Loss:
        """The loss under the last epoch of a fine-tuning on the samples with a loss, or on a share of them."""
        drawn = usable.shuffled(self.seed)[: math.ceil(self.share * len(usable))]
        last = drawn.train(replace(self.train, seed=self.train.seed + self.seed))[-1]
        return self._loss(last, None) if self.train.lora is None else self._loss(self.train.base, last)
