"""MoDS: Model-oriented Data Selection for Instruction Tuning (Du et al. 2023, arXiv 2311.15653).

A reward model keeps the samples of high quality, and k-center greedy covers their instructions: the seed. A model that
is trained on the seed answers the high-quality part; what it answers badly is what it needs, and a second k-center
covers that. The selection is the seed and the need. What differs from the released code, each a field or repaired here:

- `threshold` and `need_threshold` are strict, as there (whose scripts compare text with a number and stop). A logit
  means nothing for another reward model: `quality` is then the share of the pool to let through and `need` the share
  of the answers that count as bad, and the thresholds follow from them. The paper's are not known for certain.
- `budget` is the whole selection and `seed_share` the seed's part of it, which the paper leaves open; 1 stops there.
- `candidates` rest leaves the seed out of what is answered; all answers it too, as the code does, which then has a seed
  twice in its output. Here a sample is kept once, and the manifest counts those (`seeds needed again`).
- `second` warm covers the need around the seed; independent starts anew, as the paper's does.
- `train` is the seed model's: all weights, 3 epochs by the Alpaca template (worded by Winnow). The next model begins at
  the base again. It answers greedily by vLLM; the code searches with four beams, one request at a time. Markers of the
  end are no part of an answer (the code cuts its last four characters), an answer cut off at `answer_tokens` is rated
  as it is, and the question is rated in the same words both times.
- `reward` cuts an answer at the model's 2,048 tokens and flags it; `--as-published` cuts nothing.
- `embed` is all-MiniLM-L6-v2 of the instruction alone, without its input, so that samples that differ in their input
  only are one to the covering; embed.text={instruction} takes both. `--as-published`: the CLS vector of a BERT, raw,
  96 tokens, computed and kept in float32 (float16 and bfloat16 change up to half of the picks). Features are never
  taken over from another corpus, as the released cache does.
- `first` is the sample closest to the mean of those to cover, or a random one, which the code draws unseeded.
  Duplicates of kept samples are never taken: where nothing else is left, fewer than the budget are kept.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field as Limits
from pydantic.dataclasses import dataclass

from jobs.engine.pool.pool import Pool
from jobs.engine.pool.selection import Column, Selection
from jobs.engine.recipe.recipe import Budget, Later, Recipe, Step
from jobs.engine.terminal.errors import NothingSelected
from jobs.engine.train.whole_model import whole_model
from jobs.methods.conversations import answered
from operators.asking.respond import Respond
from operators.base import STRICT
from operators.checkpoint import Checkpoint
from operators.embedding.embed import Embed
from operators.kernels.center import closest, mean_direction
from operators.kernels.k_center import k_center
from operators.kernels.threshold import threshold_above, threshold_below
from operators.scoring.reward import Reward
from operators.training.finetune import LIKE_ALPACA, Finetune


@dataclass(frozen=True, config=STRICT)
class MoDS(Recipe):
    """What a reward model finds good, covered by k-center, and what a model that learnt it still needs."""

    published: ClassVar = {
        "reward.max_tokens": None,
        "embed.model.name": "google-bert/bert-base-uncased",
        "embed.pooling": "cls",
        "embed.scale": "raw",
        "embed.max_tokens": 96,
        "embed.precision": "float32",
        "embed.stored": "float32",
        "first": "random",
        "candidates": "all",
        "second": "independent",
        "train.base.name": "meta-llama/Llama-2-7b-hf",
        "train.batch": 512,
    }

    needs: ClassVar = ("vLLM, by which the model that it trains answers (not with seed_share=1)",)

    budget: Budget = "2%"
    reward: Reward = Reward()
    threshold: float = 0.0
    quality: float | None = Limits(default=None, gt=0, le=1)
    embed: Embed = Embed(text="{request}")
    first: Literal["center", "random"] = "center"
    seed_share: float = Limits(default=0.5, gt=0, le=1)
    train: Finetune = replace(LIKE_ALPACA, max_tokens=1024)
    answer_tokens: int = Limits(default=1024, ge=1)
    candidates: Literal["rest", "all"] = "rest"
    need_threshold: float = 0.0
    need: float | None = Limits(default=None, gt=0, le=1)
    second: Literal["warm", "independent"] = "warm"

    def steps(self) -> dict[str, Step]:
        """A model is trained, and asked, where the recipe goes on after the seed."""
        steps = super().steps()
        if self.seed_share < 1:
            return {**steps, "answer": Later("Respond")}
        return {name: step for name, step in steps.items() if name != "train"}

    def refusals(self) -> Iterator[str]:
        """A budget in tokens."""
        yield from self.refused_in_tokens()

    def select(self, pool: Pool) -> Selection:
        """High quality, the seed, what the seed's model answers badly, and the cover of that."""
        size = self.size(pool)
        pool = pool.map(reward=self.reward)
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
        seeds = self._cover(pool, good, math.ceil(self.seed_share * size))
        asked = good if self.candidates == "all" else np.setdiff1d(good, seeds)
        need, verdicts, facts = seeds[:0], (seeds[:0], np.empty(0)), {}
        if len(seeds) < size and self.seed_share < 1 and len(asked):
            pool, verdicts = self._verdicts(pool, seeds, asked)
            bound = threshold_below(verdicts[1], self.need) if self.need else self.need_threshold
            need = verdicts[0][verdicts[1] < bound]
            facts = {"need_threshold": bound, "answered": len(verdicts[0]), "answered badly": len(need)}
        more = self._cover(pool, need, size - len(seeds), seeds if self.second == "warm" else seeds[:0])
        kept = np.append(seeds, more[~np.isin(more, seeds)])
        return pool.select(
            kept,
            score=(ids, rewards),
            reasons={
                f"reward not above {threshold:g}": ids,
                "high quality, and near to the seed or answered well by its model": good,
                "answered badly, and near enough to kept samples": need,
                "high quality, and far from all kept before it": seeds,
                "answered badly by the seed's model, and far from all kept before it": kept[len(seeds) :],
            },
            details={"answer_reward": verdicts},
            facts={
                "threshold": threshold,
                "high quality": len(good),
                **facts,
                "seed": len(seeds),
                "seeds needed again": int(np.isin(more, seeds).sum()),
            },
            vector="embed",
        )

    def _cover(self, pool: Pool, ids: np.ndarray, size: int, kept: np.ndarray | None = None) -> np.ndarray:
        """At most `size` of the ids, farthest first: from the kept ones, else from the first of them."""
        kept = ids[:0] if kept is None else kept
        together = np.union1d(ids, kept)
        size = min(size, len(np.setdiff1d(ids, kept)))
        if not size:
            return ids[:0]
        if len(kept):
            warm = np.searchsorted(together, kept)
            return together[pool.reduce(k_center, "embed", only=together, k=size, warm=warm).picks]
        if self.first == "random":
            first = int(np.random.default_rng(self.seed).integers(len(ids)))
        else:
            center = pool.reduce(mean_direction, "embed", only=ids)
            first = pool.reduce(closest, "embed", only=ids, center=center)
        return ids[pool.reduce(k_center, "embed", only=ids, k=size, first=first).picks]

    def _verdicts(self, pool: Pool, seeds: np.ndarray, asked: np.ndarray) -> tuple[Pool, Column]:
        """The pool with the column `answer`, and of those asked that it has one for, the reward of the answer."""
        last = pool.train(replace(self.train, seed=self.train.seed + self.seed), seeds)[-1]
        model = Checkpoint(str(whole_model(self.train, Path(last.name))))
        pool = pool.map(answer=Respond(model=model, max_tokens=self.answer_tokens), only=asked)
        asked = np.intersect1d(asked, pool.valid("answer"))
        answers = answered(pool, "answer", asked).map(reward=self.reward)
        rated = answers.valid("reward")
        return pool, (asked[rated], answers.values("reward.reward", rated))
