"""LoBaSS: Gauging Learnability in Supervised Fine-tuning Data (Zhou et al. 2023, arXiv 2310.13008), whose second
version is DavIR: Data Selection via Implicit Reward for LLMs (ACL 2025, under the same number).

1. Compute the loss of each response under a base model.
2. Fine-tune the base on all candidates. The result is the reference.
3. Compute the loss of each response under the reference.
4. A sample's learnability is the share of its loss that fine-tuning removes. Keep the highest.

Before use: no code was released, and what the paper leaves open is a field. The reference is trained on every copy of a
near duplicate; exact duplicates are removed before. A large share of a tiny loss can rank first by chance, so the
manifest counts the kept samples with a base loss below 0.3 nats per token.
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
    """Keep the samples of whose loss fine-tuning removes the largest share."""

    published: ClassVar = {"budget": "3000", "train.base.name": "huggyllama/llama-7b"}

    budget: Budget = "6%"
    """As published, 3,000, which is 6 % of Alpaca."""
    train: Finetune = LIKE_ALPACA
    """The fine-tuning of the reference: all weights, 3 epochs with the hyperparameters of Stanford Alpaca, which the
    authors are assumed to use too, and a preamble in Winnow's words. train.lora.rank=8 trains an adapter instead. A
    sample longer than train.max_tokens is cut, and the rest of it is scored."""
    share: float = Limits(default=1.0, gt=0, le=1)
    """The share of the candidates that the reference is trained on, drawn with `seed`. The paper trains on all of
    them. The score of a sample that the reference was not trained on depends only on what other samples teach."""
    reference: Checkpoint | None = None
    """A model that is fine-tuned already; then nothing is trained. Its tokenizer must split texts as the base's."""
    adapter: Checkpoint | None = None
    """A LoRA adapter of the base, or of `reference`; then nothing is trained."""
    version: Version = "v2"
    """v2 and v1_normalised: one minus the loss under the reference divided by the loss under the base, so the length of
    a response cancels. v1_unnormalised: the difference of the losses. A division by the loss under the reference in
    place of the base would change the scores and not their order."""
    reduction: Reduction = "mean"
    """The losses in v1_unnormalised: means over the tokens, or sums, which rank the longest responses first."""
    least_score: float | None = None
    """The minimum score to keep; 0 drops samples whose loss rose. The paper selects by rank only."""
    least_loss: float = Limits(default=0.0, ge=0)
    """The minimum loss under the base to keep, in nats per token: a response below it is learnt already."""
    least_tokens: int = Limits(default=1, ge=1)
    """The minimum number of response tokens to keep."""
    precision: Precision = "auto"
    """The precision of the losses."""

    def steps(self) -> dict[str, Step]:
        """The loss under the base, the fine-tuning unless a reference is given, and the loss under the reference."""
        given = self._given()
        steps = {"base": self._loss(self.train.base, None), **super().steps(), "reference": given or Later("Loss")}
        return {name: step for name, step in steps.items() if name != "train" or not given}

    def select(self, pool: Pool) -> Selection:
        """Compares the losses before and after the fine-tuning, and keeps the samples with the highest learnability."""
        before = pool.map(base=self._loss(self.train.base, None))
        after = before.map(reference=self._given() or self._trained(before))
        losses = [f"{model}.{field}" for model in ("base", "reference") for field in ("nll_sum", "tokens")]
        learnt = after.reduce(learnability, *losses, version=self.version, reduction=self.reduction)
        scored = after.bind(learnability=learnt).having("learnability")
        floors = {name: getattr(self, name) for name in ("least_score", "least_loss", "least_tokens")}
        wanted = scored[scored.reduce(worth_learning, "learnability", "base.nll_mean", "base.tokens", **floors)]
        kept = self.within(pool, wanted.ranked("learnability"))
        low = int((kept.values("base.nll_mean") < LEARNT).sum())
        return pool.selection(
            kept,
            score="learnability",
            because={
                "score, loss or length below the minimum": scored,
                "less learnable than the kept ones": wanted,
                "among the most learnable": kept,
            },
            details={
                "base_loss": scored.column("base.nll_mean"),
                "reference_loss": scored.column("reference.nll_mean"),
                "response_tokens": scored.column("base.tokens"),
            },
            facts={
                "higher loss after fine-tuning": int((scored.values("learnability") < 0).sum()),
                f"kept with a base loss below {LEARNT:g} nats per token": low,
            },
        )

    def _given(self) -> Loss | None:
        """The loss under the reference or adapter that is given; None where there is none."""
        return self._loss(self.reference or self.train.base, self.adapter) if self.reference or self.adapter else None

    def _loss(self, model: Checkpoint, adapter: Checkpoint | None) -> Loss:
        return Loss(model, adapter, self.train.template, self.train.max_tokens, self.precision)

    def _trained(self, usable: Subset) -> Loss:
        """The loss under the last epoch of a fine-tuning on the usable samples, or on a share of them."""
        drawn = usable.shuffled(self.seed)[: math.ceil(self.share * len(usable))]
        last = drawn.train(replace(self.train, seed=self.train.seed + self.seed))[-1]
        return self._loss(last, None) if self.train.lora is None else self._loss(self.train.base, last)
