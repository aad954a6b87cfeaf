"""DEITA: What Makes Good Data for Alignment? (Liu et al. 2024, ICLR, arXiv 2312.15685).

1. A trained scorer predicts the complexity of each turn's instruction, another the quality of its response.
2. The evol score of a sample is the sum over its turns of complexity times quality. Rank by it.
3. Walk down the ranking. Keep a sample unless the cosine similarity of its embedding to that of a sample kept before it
   is above the threshold (Repr Filter). Stop when the budget is spent.

Before use: the released scorers have no scorer.json, and Winnow has no copy of their prompts; scorers with another base
work too. The sum favours long conversations. A sample without a score is never selected; the released code gives it
3.0. Ties go by id.
"""

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
from pydantic import Field as Limits
from pydantic.dataclasses import dataclass

from jobs.engine.recipe import Budget, Pool, Recipe, Selection
from jobs.methods.deita_walk import Walk
from operators.base import STRICT
from operators.checkpoint import Checkpoint
from operators.embedding.embed import Embed
from operators.kernels.evol_score import Aggregate, evol_score
from operators.kernels.sharding import by_row
from operators.scoring.scorer import Scorer

RELEASED = {name: f"hkust-nlp/deita-{name}-scorer" for name in ("complexity", "quality")}


@dataclass(frozen=True, config=STRICT)
class DEITA(Recipe):
    """Rank by complexity times quality, and keep samples that are not similar to a sample kept before them."""

    published: ClassVar = {
        "budget": "6000",
        "complexity.turns": "empty_response",
        "complexity.precision": "float32",
        "quality.turns": "empty_response",
        "quality.precision": "float32",
        "embed.model.name": "mistralai/Mistral-7B-v0.1",
        "embed.text": "USER: {instruction} ASSISTANT: {response}</s>",
        "embed.pooling": "last",
        "embed.max_tokens": 2048,
        "embed.precision": "float32",
        "embed.stored": "float32",
    }

    budget: Budget = "2%"
    """2 % is the paper's 6,000 of 300,000; as published, 6,000 for any pool."""
    complexity: Scorer = Scorer(model=Checkpoint(RELEASED["complexity"]))
    """The scorer of instructions. Its prompt is in a scorer.json beside the checkpoint's config.json, {"template": "...
    {instruction} ... {response} ...", "labels": ["1", ..., "6"]}, or in `complexity.template` and `complexity.labels`.
    Turns are paired by role, not by position. A last user message without an answer is dropped or, as published
    (`turns`), scored with an empty response. A prompt that is too long is cut, the response first, and counted."""
    quality: Scorer = Scorer(model=Checkpoint(RELEASED["quality"]))
    """The scorer of responses, declared like `complexity`."""
    aggregate: Aggregate = "sum"
    """How the products of the turns are combined. The paper takes the sum; mean, max and last do not grow with the
    number of turns."""
    embed: Embed = Embed()
    """The embedding that samples are compared by. As published, the last token of Mistral-7B in float32 (the released
    code computes in bfloat16). Roles and the end of an answer are formatted as for Vicuna, without its system message,
    and the questions of a conversation come before its answers."""
    threshold: float = Limits(default=0.9, ge=-1, le=1)
    """The similarity above which a sample is dropped. The value is for the published embedder; with all-MiniLM-L6-v2 it
    only removes near-duplicates."""
    acceptance: float | None = Limits(default=None, gt=0, le=1)
    """Sets the threshold for another embedder: the one that keeps this share of the first 20,000 ranks."""

    def refusals(self) -> Iterator[str]:
        """Refuses the released scorers without their prompts."""
        for name, scorer in (("complexity", self.complexity), ("quality", self.quality)):
            if scorer.model.name in RELEASED.values() and scorer.template is None:
                yield (
                    f"{scorer.model.name} comes without the prompt that it was trained with: set {name}.template=... "
                    f"and {name}.labels=..., or set {name}.model.name to a folder with the model and a scorer.json, "
                    'such as {"template": "... {instruction} ... ", "labels": ["1", "2", "3", "4", "5", "6"]}'
                )

    def select(self, pool: Pool) -> Selection:
        """Scores and ranks the samples, and walks down the ranking."""
        rated = pool.map(complexity=self.complexity, quality=self.quality)
        evol = rated.reduce(sample_evol_score, "complexity", "quality", aggregate=self.aggregate)
        ranks = rated.bind(evol=evol).having("evol").ranked("evol")
        ranks = ranks.bind(evol_rank=np.arange(1, len(ranks) + 1, dtype=np.int32))
        walk = Walk(ranks, self.embed, self.threshold)
        if self.acceptance is not None:
            walk.calibrate(self.acceptance)
        kept = self.within(pool, walk.kept)
        looked_at, blocked = walk.down_to(len(kept))
        return pool.selection(
            kept,
            score="evol",
            because={
                "ranked below the last sample compared": ranks,
                f"similarity above {walk.threshold:g} to a kept sample of a better rank": blocked,
                "high evol score, and not similar to a sample kept before it": kept,
            },
            details={
                "evol_rank": ranks.column("evol_rank"),
                "blocker": blocked.column("blocker"),
                "similarity": blocked.column("similarity"),
            },
            facts={
                "threshold": walk.threshold,
                "samples embedded": walk.asked,
                "samples compared": len(looked_at),
                "acceptance": len(kept) / len(looked_at),
            },
            vector="embed",
        )


@by_row
def sample_evol_score(complexity: np.ndarray, quality: np.ndarray, aggregate: Aggregate, offset: int = 0) -> np.ndarray:
    """The evol score of n samples, (n,) float64; complexity, quality: (n,) values of two scorers."""
    complex_turns, good_turns = ([each["scores"] for each in column] for column in (complexity, quality))
    return evol_score(complex_turns, good_turns, aggregate, offset=offset)
