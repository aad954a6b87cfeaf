"""MoDS: Model-oriented Data Selection for Instruction Tuning (Du et al. 2023, arXiv 2311.15653).

1. Quality: a reward model scores every sample, and the samples above a threshold are of high quality.
2. Coverage: k-center greedy covers the instructions of these samples. The picks are the seed.
3. Need: a model that is trained on the seed answers the high-quality samples, and the reward model scores its answers.
   The samples that it answers badly are the ones it needs.
4. A second k-center covers the needed samples. The selection is the seed and this cover.

Before use: a threshold is specific to a reward model; for another one, set the share that passes by `quality` and
`need`. Duplicates of kept samples are never kept, so fewer than the budget are kept where nothing else is left.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import Field as Limits
from pydantic.dataclasses import dataclass

from jobs.engine.recipe import Budget, Later, Pool, Ranking, Recipe, Selection, Step, Subset
from jobs.engine.terminal.errors import NothingSelected
from jobs.methods.conversations import rated_answers
from jobs.methods.covering import Covering, First, covered
from operators.base import STRICT
from operators.embedding.embed import Embed
from operators.scoring.reward import Reward
from operators.training.finetune import LIKE_ALPACA, Finetune


@dataclass(frozen=True, config=STRICT)
class MoDS(Recipe):
    """Cover the samples with a high reward, and the samples that a model trained on this cover answers badly."""

    published: ClassVar = {
        "reward.max_tokens": None, "embed.model.name": "google-bert/bert-base-uncased", "embed.pooling": "cls",
        "embed.scale": "raw", "embed.max_tokens": 96, "embed.precision": "float32", "embed.stored": "float32",
        "train.batch": 512, "train.base.name": "meta-llama/Llama-2-7b-hf",
        "first": "random", "candidates": "all", "second": "independent",
    }  # fmt: skip
    needs: ClassVar = ("vLLM, with which the trained model answers (not with seed_share=1)",)
    fewer: ClassVar = "others of need have vectors of kept ones, or second=independent picked some of the seed again"

    budget: Budget = "2%"
    """The size of the whole selection, which is the seed and the second cover."""
    reward: Reward = Reward()
    """The reward model. An answer is cut to fit 2,048 tokens, and the cut is flagged; as published, nothing is cut."""
    threshold: float = 0.0
    """A reward strictly above it is high quality. The paper's thresholds are not known for certain."""
    quality: float | None = Limits(default=None, gt=0, le=1)
    """The share of the pool that is of high quality; it replaces the threshold."""
    embed: Embed = Embed(text="{request}")
    """The embedding of the instruction without its input; embed.text={instruction} has both. As published, the raw CLS
    vector of a BERT, from 96 tokens, in float32: half precision changes up to half of the picks."""
    first: First = "center"
    """The first pick: the sample closest to the mean, or a random one, which the released code draws without a seed."""
    cover: Covering = "exact"
    """two_round: parts are covered first, and then their picks, for millions of picks; the manifest has its radius."""
    seed_share: float = Limits(default=0.5, gt=0, le=1)
    """The seed's share of the budget, which the paper leaves open; with 1, the recipe stops after the seed."""
    train: Finetune = replace(LIKE_ALPACA, max_tokens=1024)
    """The training of the model that answers. It decodes greedily; the released code searches with four beams."""
    answer_tokens: int = Limits(default=1024, ge=1)
    """The maximum tokens of an answer. One that is cut off is scored as it is; the code drops its last 4 characters."""
    candidates: Literal["rest", "all"] = "rest"
    """The samples to answer. rest: all but the seed. all: the seed too, so the code can output a seed sample twice."""
    need_threshold: float = 0.0
    """The reward below which an answer is bad; `need`, the share of the answers that are bad, replaces it."""
    need: float | None = Limits(default=None, gt=0, le=1)
    second: Literal["warm", "independent"] = "warm"
    """The second cover. warm: it extends the seed. independent: it starts without the seed, as in the paper."""

    def steps(self) -> dict[str, Step]:
        """The steps; the training and the answers are only needed where the recipe does not stop after the seed."""
        steps = {**super().steps(), "answer": Later("Respond")}
        return {name: steps[name] for name in steps if self.seed_share < 1 or name not in ("train", "answer")}

    def refusals(self) -> Iterator[str]:
        yield from self.refused_in_tokens()

    def select(self, pool: Pool) -> Selection:
        """Keeps the seed, and the cover of the high-quality samples that the trained model answers badly."""
        size = self.budget_size(pool)
        rated = pool.map(reward=self.reward)
        good = rated.above("reward.reward", self.threshold, share=self.quality)
        if not len(good):
            highest = rated.values("reward.reward").max()
            raise NothingSelected(f"no reward is above the threshold; the highest is {highest:g}: set quality=0.2")
        good = good.map(embed=self.embed)
        seed = covered(good, math.ceil(self.seed_share * size), None, self.first, self.seed, self.cover)
        trainer = replace(self.train, seed=self.train.seed + self.seed)
        answered = rated_answers(self.asked(good, seed, size), seed, trainer, self.answer_tokens, self.reward)
        need, more = self.needed(seed, answered, size)
        counts = {"high quality": good, "answered": answered, "answered badly": need, "in the seed": seed}
        return pool.selection(
            seed + more,
            score="reward.reward",
            because={
                "reward too low": rated,
                "high quality, but close to the seed or answered well by its model": good,
                "answered badly, but close to a kept sample": need,
                "high quality, and far from all kept before it": seed,
                "answered badly by the seed's model, and far from all kept before it": more - seed,
            },
            details={"answer_reward": answered.column("answer_reward")},
            facts={name: len(part) for name, part in {**counts, "in both covers": more & seed}.items()},
            vector="embed",
        )

    def asked(self, good: Subset, seed: Ranking, size: int) -> Subset:
        """The samples that the model trained on the seed answers; none where the selection is only the seed."""
        enough = self.seed_share == 1 or len(seed) >= size
        return good[:0] if enough else good if self.candidates == "all" else good - seed

    def needed(self, seed: Ranking, answered: Subset, size: int) -> tuple[Subset, Ranking]:
        """The samples with a bad answer, and the cover of them that fills the selection up to `size`."""
        need = answered.below("answer_reward", self.need_threshold, share=self.need)
        around = seed if self.second == "warm" else None
        return need, covered(need, size - len(seed), around, self.first, self.seed, self.cover)
