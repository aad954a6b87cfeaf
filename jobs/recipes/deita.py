"""DEITA: What Makes Good Data for Alignment? (Liu et al. 2024, ICLR, arXiv 2312.15685).

Two trained scorers say how complex each turn's instruction is and how good its response. The evol score is the sum
over the turns of complexity times quality. Down that ranking a sample is kept unless the cosine similarity of its
embedding to one kept before it is above the threshold (Repr Filter). What differs from the released code:

- A sample without a score is never selected and is counted with its error; the released code gives it 3.0. What is
  too long for a scorer is cut, the response first, and counted in the manifest (`truncated`).
- The released scorers carry no scorer.json and Winnow has no copy of their prompts. Write one beside the checkpoint's
  config.json: {"template": "... {instruction} ... {response} ... ", "labels": ["1", ..., "6"]}; or set
  complexity.template, complexity.labels and quality's. Scorers of another base work alike.
- Turns are paired by role and not by position; `complexity.turns` and `quality.turns` say what becomes of a last
  user message without an answer (dropped; `--as-published` scores it with an empty response).
- `aggregate` sum is the paper's, and long conversations win by it; mean, max and last are offered.
- The embedder is all-MiniLM-L6-v2, on which the threshold 0.9 only removes near-duplicates: it belongs to the last
  token of a language model. `acceptance` chooses the threshold for another embedder: the one that keeps this share of
  the first 20,000 ranks. `--as-published` takes Mistral-7B's last token; roles and the end of an answer are written as
  Vicuna does, without its system sentence, and a conversation's turns are put together, all questions first. It scores
  and embeds in float32 (the code's embedder computes in bfloat16).
- Samples are embedded from the best rank down, twice the budget at first and then twice as many again, until enough
  are kept; the selection is the same as if all were.
- Ties go by id. `budget` is 2 %, the paper's 6,000 of 300,000; `--as-published` wants 6,000, whatever the pool.
"""

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
from pydantic import Field as Limits
from pydantic.dataclasses import dataclass

from jobs.engine.pool.pool import Pool
from jobs.engine.pool.selection import Selection
from jobs.engine.recipe.recipe import Budget, Recipe
from jobs.engine.terminal.errors import NothingSelected
from operators.base import STRICT
from operators.checkpoint import Checkpoint
from operators.embedding.embed import Embed
from operators.kernels.evol_score import Aggregate, evol_score
from operators.kernels.ranking import ranked
from operators.kernels.repr_filter import Filtered, repr_filter
from operators.scoring.scorer import Scorer

RELEASED = {name: f"hkust-nlp/deita-{name}-scorer" for name in ("complexity", "quality")}
LOOKED_AT_FIRST = 2  # budgets
CALIBRATED_ON = 20_000  # ranks
BISECTIONS = 16
TOLERANCE = 0.005


@dataclass(frozen=True, config=STRICT)
class DEITA(Recipe):
    """Rank by complexity times quality, and keep what is unlike all that is kept before it."""

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
    complexity: Scorer = Scorer(model=Checkpoint(RELEASED["complexity"]))
    quality: Scorer = Scorer(model=Checkpoint(RELEASED["quality"]))
    aggregate: Aggregate = "sum"
    embed: Embed = Embed()
    threshold: float = Limits(default=0.9, ge=-1, le=1)
    acceptance: float | None = Limits(default=None, gt=0, le=1)

    def refusals(self) -> Iterator[str]:
        """Released scorers without their prompts."""
        for name, scorer in (("complexity", self.complexity), ("quality", self.quality)):
            if scorer.model.name in RELEASED.values() and scorer.template is None:
                yield (
                    f"{scorer.model.name} comes without the prompt that it was trained with: set {name}.template=... "
                    f"and {name}.labels=..., or set {name}.model.name to a folder that holds it and a scorer.json, "
                    'such as {"template": "... {instruction} ... ", "labels": ["1", "2", "3", "4", "5", "6"]}'
                )

    def select(self, pool: Pool) -> Selection:
        """Score, rank, and walk down the ranks."""
        pool = self.counted(pool.map(complexity=self.complexity, quality=self.quality))
        ids = pool.valid("complexity", "quality")
        scores = pool.reduce(sample_evol_score, "complexity", "quality", only=ids, aggregate=self.aggregate)
        ids, scores = ids[np.isfinite(scores)], scores[np.isfinite(scores)]
        walk = Walk(pool, self.embed, ids[ranked(scores)], self.threshold)
        if self.acceptance is not None:
            walk.calibrate(self.acceptance)
        kept = self.within(pool, walk.kept)
        looked_at, blocked, blockers, similarities = walk.down_to(len(kept))
        cut = pool.values("complexity.truncated", ids) | pool.values("quality.truncated", ids)
        return walk.pool.select(
            kept,
            score=(ids, scores),
            reasons={
                "not scored": np.arange(pool.samples),
                "ranked below the last sample looked at": ids,
                f"similarity above {walk.threshold:g} to a kept sample of a better rank": blocked,
                "high evol score, and unlike all kept before it": kept,
            },
            details={
                "evol_rank": (walk.order, np.arange(1, len(ids) + 1)),
                "blocker": (blocked, blockers),
                "similarity": (blocked, similarities),
            },
            facts={
                "threshold": walk.threshold,
                "embedded": walk.embedded,
                "looked_at": len(looked_at),
                "acceptance": len(kept) / len(looked_at),
                "truncated": int(cut.sum()),
            },
            vector="embed",
        )


class Walk:
    """The walk down the ranks: what is embedded so far, and what of it is kept."""

    def __init__(self, pool: Pool, embed: Embed, order: np.ndarray, threshold: float):
        self.pool, self.embed, self.order, self.threshold = pool, embed, order, threshold
        self.embedded = 0
        """How many of the ranks an embedding has been asked for."""
        self.usable = order[:0]
        """The ids of those that have one, best first."""
        self.found: Filtered | None = None

    def kept(self, size: int) -> np.ndarray:
        """The ids of the first `size` samples to keep, best first; fewer where the ranks end."""
        self._embed(LOOKED_AT_FIRST * size)
        while True:
            found: Filtered = self.pool.reduce(
                repr_filter, "embed", only=self.usable, size=size, threshold=self.threshold, earlier=self.found
            )
            self.found = found
            if len(found.kept) == size or self.embedded == len(self.order):
                return self.usable[found.kept]
            self._embed(2 * self.embedded)

    def calibrate(self, share: float) -> None:
        """Sets the threshold to the one that keeps this share of the first ranks."""
        self._embed(CALIBRATED_ON)
        self.threshold = self.pool.reduce(accepting_threshold, "embed", only=self.usable, share=share)

    def down_to(self, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The ids looked at for the first `size` kept samples; of those blocked ids, blockers and similarities."""
        assert self.found is not None
        kept, blocker = self.found.kept, self.found.blocker
        looked = self.found.looked if size == len(kept) else int(kept[size - 1]) + 1
        blocked = np.flatnonzero(blocker[:looked] >= 0)
        return self.usable[:looked], self.usable[blocked], self.usable[blocker[blocked]], self.found.similarity[blocked]

    def _embed(self, ranks: int) -> None:
        """Embeds so many ranks, each once; NothingSelected where none of them has a vector."""
        following = self.order[self.embedded : ranks]
        self.pool = self.pool.map(embed=self.embed, only=following)
        self.usable = np.append(self.usable, following[np.isin(following, self.pool.valid("embed"))])
        self.embedded += len(following)
        if not len(self.usable):
            raise NothingSelected("no sample has both scores and an embedding")


def sample_evol_score(complexity: np.ndarray, quality: np.ndarray, aggregate: Aggregate) -> np.ndarray:
    """(n,) the evol score of what two scorers gave for n samples."""
    return evol_score([each["scores"] for each in complexity], [each["scores"] for each in quality], aggregate)


def accepting_threshold(embeddings: np.ndarray, share: float, device: str = "cpu") -> float:
    """The threshold with which Repr Filter keeps this share of the rows, best first, to half a point if there is one.

    By bisection: the share grows with the threshold, but for a few rows.
    """
    low, high, middle = -1.0, 1.0, 0.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        accepted = len(repr_filter(embeddings, None, middle, device=device).kept) / len(embeddings)
        if abs(accepted - share) <= TOLERANCE:
            break
        low, high = (middle, high) if accepted < share else (low, middle)
    return middle
