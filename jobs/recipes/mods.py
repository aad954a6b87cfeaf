"""MoDS: Model-oriented Data Selection for Instruction Tuning (Du et al. 2023, arXiv 2311.15653), its first two stages.

A reward model keeps the samples of high quality, and k-center greedy covers their instructions: the seed. The paper
goes on: a model trained on the seed answers all of the high-quality part, and what it answers badly is covered by a
second k-center. That third stage is not here yet: this recipe's selection is the paper's seed. What differs from the
released code, each a field or repaired here:

- `threshold` is strict, as there (whose scripts compare text with a number and stop). A logit means nothing for
  another reward model: `quality` is then the share of the pool to let through, and the threshold follows from it.
- `reward` cuts an answer at the model's 2,048 tokens and flags it; `--as-published` cuts nothing.
- `embed` is all-MiniLM-L6-v2 of the instruction alone, without its input, so that samples that differ in their input
  only are one to the covering; embed.text={instruction} takes both. `--as-published`: the CLS vector of a BERT, raw,
  96 tokens. Features are never taken over from another corpus, as the released cache does.
- `first` is the sample closest to the mean of the high-quality part, or a random one, which the code draws unseeded.
  Duplicates of kept samples are never taken: where nothing else is left, fewer than the budget are kept.
"""

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field as Limits
from pydantic.dataclasses import dataclass

from jobs.engine.errors import NothingSelected
from jobs.engine.pool import Pool
from jobs.engine.recipe import Budget, Recipe
from jobs.engine.selection import Selection
from operators.base import STRICT
from operators.embed import Embed
from operators.kernels.center import closest, mean_direction
from operators.kernels.k_center import k_center
from operators.kernels.threshold import threshold_above
from operators.reward import Reward


@dataclass(frozen=True, config=STRICT)
class MoDS(Recipe):
    """What a reward model finds good, covered by k-center."""

    published: ClassVar = {
        "reward.max_tokens": None,
        "embed.model.name": "google-bert/bert-base-uncased",
        "embed.pooling": "cls",
        "embed.scale": "raw",
        "embed.max_tokens": 96,
        "first": "random",
    }

    budget: Budget = "2%"
    reward: Reward = Reward()
    threshold: float = 0.0
    quality: float | None = Limits(default=None, gt=0, le=1)
    embed: Embed = Embed(text="{request}")
    first: Literal["center", "random"] = "center"

    def select(self, pool: Pool) -> Selection:
        """The seed: high quality, then farthest first."""
        pool = self.counted(pool.map(reward=self.reward))
        ids = pool.valid("reward")
        rewards = pool.values("reward.reward", ids)
        threshold = threshold_above(rewards, self.quality) if self.quality else self.threshold
        good = ids[rewards > threshold]
        if not len(good):
            raise NothingSelected(
                f"no reward is above {threshold:g}, the highest is {rewards.max():g}: set quality=0.2"
            )
        pool = pool.map(embed=self.embed, only=good)
        good = np.intersect1d(good, pool.valid("embed"))
        if self.first == "random":
            first = int(np.random.default_rng(self.seed).integers(len(good)))
        else:
            center = pool.reduce(mean_direction, "embed", only=good)
            first = pool.reduce(closest, "embed", only=good, center=center)
        kept = self.within(
            pool, lambda k: good[pool.reduce(k_center, "embed", only=good, k=min(k, len(good)), first=first).picks]
        )
        return pool.select(
            kept,
            score=(ids, rewards),
            reasons={
                f"reward not above {threshold:g}": ids,
                "near enough to kept samples": good,
                "high quality, and far from all kept before it": kept,
            },
            facts={"threshold": threshold, "high quality": len(good)},
            vector="embed",
        )
