"""MoDS: Model-oriented Data Selection for Instruction Tuning (Du et al. 2023, arXiv 2311.15653).

1. Quality: a reward model rates every sample, and those above a threshold are kept.
2. Coverage: k-center greedy covers the instructions of these: the seed.
3. Need: a model that is trained on the seed answers the high-quality samples, and the reward model rates its answers.
   What it answers badly is what it needs.
4. A second k-center covers the need. The selection is the seed and this cover.

Before use: a threshold belongs to one reward model; for another one `quality` and `need` say which share passes.
Duplicates of kept samples are never taken, so that fewer than the budget are kept where nothing else is left.
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
from jobs.methods.covering import First, covered
from operators.base import STRICT
from operators.embedding.embed import Embed
from operators.scoring.reward import Reward
from operators.training.finetune import LIKE_ALPACA, Finetune


@dataclass(frozen=True, config=STRICT)
class MoDS(Recipe):
    """What a reward model finds good, covered by k-center, and what a model that learnt it still needs."""

    published: ClassVar = {
        "reward.max_tokens": None, "embed.model.name": "google-bert/bert-base-uncased", "embed.pooling": "cls",
        "embed.scale": "raw", "embed.max_tokens": 96, "embed.precision": "float32", "embed.stored": "float32",
        "first": "random", "candidates": "all", "second": "independent", "train.batch": 512,
        "train.base.name": "meta-llama/Llama-2-7b-hf",
    }  # fmt: skip
    needs: ClassVar = ("vLLM, by which the model that it trains answers (not with seed_share=1)",)

    budget: Budget = "2%"
    """The size of the whole selection, seed and need."""
    reward: Reward = Reward()
    """The reward model. It cuts an answer at its 2,048 tokens and flags it; as published nothing is cut."""
    threshold: float = 0.0
    """The reward that a sample of high quality is strictly above. The paper's thresholds are not known for certain."""
    quality: float | None = Limits(default=None, gt=0, le=1)
    """The share of the pool that is of high quality, in place of the threshold."""
    embed: Embed = Embed(text="{request}")
    """The embedding of the instruction without its input; embed.text={instruction} takes both. As published, the raw
    CLS vector of a BERT, from 96 tokens, in float32: half precision changes up to half of the picks."""
    first: First = "center"
    """Where a cover begins: at the sample closest to the mean, or at a random one, which the code draws unseeded."""
    seed_share: float = Limits(default=0.5, gt=0, le=1)
    """The seed's part of the budget, which the paper leaves open; with 1 the recipe stops at the seed."""
    train: Finetune = replace(LIKE_ALPACA, max_tokens=1024)
    """The training of the model that answers: all weights, 3 epochs, the Alpaca template in Winnow's words. It answers
    greedily; the code searches with four beams."""
    answer_tokens: int = Limits(default=1024, ge=1)
    """The length of an answer, which is rated as it is where it is cut off. The code cuts its last four characters."""
    candidates: Literal["rest", "all"] = "rest"
    """What is answered: what is outside the seed, or all, by which the code has a seed twice in its output."""
    need_threshold: float = 0.0
    """The reward below which an answer is bad."""
    need: float | None = Limits(default=None, gt=0, le=1)
    """The share of the answers that are bad, in place of the threshold."""
    second: Literal["warm", "independent"] = "warm"
    """warm covers the need around the seed; independent starts anew, as the paper does."""

    def steps(self) -> dict[str, Step]:
        """A model is trained, and asked, where the recipe goes on after the seed."""
        steps = {**super().steps(), "answer": Later("Respond")}
        return {name: steps[name] for name in steps if self.seed_share < 1 or name not in ("train", "answer")}

    def refusals(self) -> Iterator[str]:
        """A budget in tokens."""
        yield from self.refused_in_tokens()

    def select(self, pool: Pool) -> Selection:
        """High quality, the seed, what the seed's model answers badly, and the cover of that."""
        size = self.size(pool)
        rated = pool.map(reward=self.reward)
        good = rated.above("reward.reward", self.threshold, share=self.quality)
        if not len(good):
            highest = rated.values("reward.reward").max()
            raise NothingSelected(f"no reward is above the threshold, the highest is {highest:g}: set quality=0.2")
        good = good.map(embed=self.embed)
        seed = covered(good, math.ceil(self.seed_share * size), good.ranking(good.ids[:0]), self.first, self.seed)
        trainer = replace(self.train, seed=self.train.seed + self.seed)
        answered = rated_answers(self.asked(good, seed, size), seed, trainer, self.answer_tokens, self.reward)
        need, more = self.needed(seed, answered, size)
        counts = {"high quality": good, "answered": answered, "answered badly": need, "seed": seed}
        return pool.selection(
            seed + more,
            score="reward.reward",
            because={
                "reward too low": rated,
                "high quality, and near to the seed or answered well by its model": good,
                "answered badly, and near enough to kept samples": need,
                "high quality, and far from all kept before it": seed,
                "answered badly by the seed's model, and far from all kept before it": more - seed,
            },
            details={"answer_reward": answered.column("answer_reward")},
            facts={name: len(part) for name, part in {**counts, "seeds needed again": more & seed}.items()},
            vector="embed",
        )

    def asked(self, good: Subset, seed: Ranking, size: int) -> Subset:
        """What a model that learnt the seed is asked about; nothing where the seed is all that is wanted."""
        if self.seed_share == 1 or len(seed) >= size:
            return good[:0]
        return good if self.candidates == "all" else good - seed

    def needed(self, seed: Ranking, answered: Subset, size: int) -> tuple[Subset, Ranking]:
        """What is answered badly, and the cover of it that fills the selection up to its size."""
        need = answered.below("answer_reward", self.need_threshold, share=self.need)
        around = seed if self.second == "warm" else seed[:0]
        return need, covered(need, size - len(seed), around, self.first, self.seed)
