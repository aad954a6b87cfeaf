"""IFD: From Quantity to Quality (Li et al., NAACL 2024, arXiv 2308.12032), instruction-following difficulty.

1. Compute the loss of each response after its instruction, s(A|Q).
2. Compute the loss of the response alone, s(A).
3. The score is IFD = s(A|Q) / s(A): the higher, the less the instruction helps with the response.
4. Drop the samples with an IFD of 1 or more, whose instruction does not help at all. Keep the highest of the others.

Before use: the paper first trains the model for an epoch on 1,000 samples, ten of each of 100 centroids; give such a
model as loss.model, or a small model as it is (Superfiltering, arXiv 2402.00530). Fewer samples than the budget are
kept where fewer have an IFD below 1. A short response has a noisy ratio. Ties go by id.
"""

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field as Limits
from pydantic.dataclasses import dataclass

from jobs.engine.recipe import Pool, Recipe, Selection, Step
from operators.base import STRICT
from operators.checkpoint import Checkpoint
from operators.losses.loss import Loss
from operators.losses.unprompted_loss import UnpromptedLoss


@dataclass(frozen=True, config=STRICT)
class IFD(Recipe):
    """Samples whose instruction helps the model least with the response, but helps."""

    published: ClassVar = {"loss.model.name": "huggyllama/llama-7b"}

    loss: Loss = Loss(Checkpoint("Qwen/Qwen3-1.7B-Base"), template="alpaca", max_tokens=512)
    """The model, and how it reads a sample. Both losses are of the same tokens. As published, LLaMA-7B."""
    ratio: Literal["losses", "perplexities"] = "losses"
    """losses: the ratio of the mean losses. perplexities: of their exponentials, as in Superfiltering."""
    most: float = Limits(default=1.0, gt=0)
    """Samples with an IFD of this or more are dropped."""

    def steps(self) -> dict[str, Step]:
        """The loss of the response with the instruction and without."""
        return {**super().steps(), "alone": self._alone()}

    def select(self, pool: Pool) -> Selection:
        """Keeps the highest IFD below `most`."""
        measured = pool.map(loss=self.loss, alone=self._alone())
        prompted, alone = measured.values("loss.nll_mean"), measured.values("alone.nll_mean")
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # a response without doubt has no ratio
            found = prompted / alone if self.ratio == "losses" else np.exp(prompted - alone)
        scored = measured.bind(ifd=found.astype(np.float64)).having("ifd")
        helped = scored.below("ifd", self.most)
        kept = self.within(pool, helped.ranked("ifd"))
        return pool.selection(
            kept,
            score="ifd",
            because={
                "the instruction does not help with the response": scored,
                "the instruction helps more than with the kept ones": helped,
                "among the highest difficulties": kept,
            },
            details={"prompted": scored.column("loss.nll_mean"), "alone": scored.column("alone.nll_mean")},
            facts={"dropped because the instruction does not help": len(scored) - len(helped)},
        )

    def _alone(self) -> UnpromptedLoss:
        return UnpromptedLoss(**vars(self.loss))
