"""Perplexity: When Less Is More (Marion et al. 2023, arXiv 2309.04564), of responses rather than of documents.

1. Compute the perplexity of each response given its instruction under a language model.
2. Rank the samples by it.
3. Keep the top, the middle or the bottom of the ranking.

Before use: the paper prunes pretraining data, where the middle was best. For instruction data large comparisons report
the middle and the top as strong baselines for their cost (Yin & Rush 2024, arXiv 2410.16208). The top holds noise and
wrong answers, the bottom repetitions. Short responses have the extreme values. Ties go by id.
"""

from typing import ClassVar, Literal

from pydantic.dataclasses import dataclass

from jobs.engine.recipe import Pool, Recipe, Selection
from operators.base import STRICT
from operators.checkpoint import Checkpoint
from operators.kernels.data_diet import closeness
from operators.kernels.data_diet import kept as part_of
from operators.losses.loss import Loss


@dataclass(frozen=True, config=STRICT)
class Perplexity(Recipe):
    """A part of the samples in the order of their responses' perplexity."""

    published: ClassVar = {"loss.model.name": "meta-llama/Llama-2-7b-hf"}

    loss: Loss = Loss(Checkpoint("Qwen/Qwen3-1.7B-Base"))
    """The model, and how it reads a sample. As published (by Yin and Rush), Llama-2-7B."""
    keep: Literal["top", "middle", "bottom"] = "middle"
    """top: the highest perplexities. middle: from the middle rank outwards. bottom: the lowest."""

    def select(self, pool: Pool) -> Selection:
        """Keeps a part of the ranking by the mean loss, of which the perplexity is the exponential."""
        measured = pool.map(loss=self.loss)
        scored = measured.bind(
            loss_mean=measured.values("loss.nll_mean"),
            score=measured.reduce(closeness, "loss.nll_mean", keep=self.keep),
        )
        kept = self.within(pool, lambda k: scored.reduce(part_of, "loss_mean", count=k, keep=self.keep))
        return pool.selection(
            kept,
            score="score",
            because={f"not in the {self.keep} of the ranking": scored, f"in the {self.keep} of the ranking": kept},
            details={"loss": scored.column("loss_mean")},
        )
