"""DEFT-UCS: unsupervised core-set selection (Das & Khetan 2023, arXiv 2310.16776), with the prototype metric of
Sorscher et al. (2022, arXiv 2206.14486).

1. Draw a random base with every label's share.
2. Embed the samples, and cluster those that are not in the base.
3. Measure how far each sample is from its own centroid: one minus the cosine.
4. Take from each centroid a quota of its easiest samples, which are the closest, and of its hardest, the farthest.

Before use: the headline setting is hard sampling, which is drawn to outliers, so that a quality gate before it is
advisable. No code was released, and what the paper leaves open is a field. A centroid with fewer samples than its quota
gives all it has, and the total falls short of the budget by that. Ties go by id.
"""

from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import Field as Limits
from pydantic.dataclasses import dataclass

from jobs.engine.recipe import Budget, Pool, Ranking, Recipe, Selection, Subset
from operators.base import STRICT
from operators.embedding.embed import Embed
from operators.field import Field
from operators.kernels.kmeans import kmeans
from operators.kernels.prototype import prototype_distance, quota
from operators.kernels.sampling import stratified_sample


@dataclass(frozen=True, config=STRICT)
class DEFT(Recipe):
    """A random base, and a quota of easy and hard samples per centroid."""

    published: ClassVar = {
        "embed.model.name": "sentence-transformers/sentence-t5-large",
        "embed.precision": "float32",
        "embed.stored": "float32",
    }

    budget: Budget = "32.5%"
    embed: Embed = Embed(text="{instruction}")
    """The embedding of the instruction alone: the method can run before there are responses (then with --answers
    optional). As published, Sentence-T5 in float32; its size is not known for certain."""
    label: Field = Field("task")
    """The field of the records by which the base has every label's share."""
    centroids: int = Limits(default=7, ge=1)
    """How many centroids there are; 7 is the paper's headline."""
    base: float = Limits(default=8 / 13, ge=0, le=1)
    """The base's part of the budget. The headline keeps 32.5 %, about 20 points of it the base."""
    hard: float = Limits(default=1.0, ge=0, le=1)
    """The hard part of a centroid's quota; the rest of it is easy."""
    ranking: Literal["quota", "pool"] = "quota"
    """pool is Sorscher's rule: no base and no quotas, but the hardest and easiest of the whole pool."""

    def refusals(self) -> Iterator[str]:
        """A budget in tokens."""
        yield from self.refused_in_tokens()

    def select(self, pool: Pool) -> Selection:
        """Base, then each centroid's easy and hard samples; or the whole pool by its distances."""
        embedded = pool.map(embed=self.embed, label=self.label)
        size = min(self.size(pool), len(embedded))
        # The base takes what is left where the quotas, rounded down, do not fill the budget.
        each = int((1 - self.base) * size / self.centroids) if self.ranking == "quota" else 0
        drawn = size - each * self.centroids if self.ranking == "quota" else 0
        base = embedded.reduce(stratified_sample, "label", size=drawn, seed=self.seed)
        rest = embedded - base
        groups = rest.reduce(kmeans, "embed", k=min(self.centroids, len(rest)), seed=self.seed)
        prototypes = {"centroids": groups.centroids, "labels": groups.labels}
        hardness = rest.reduce(prototype_distance, "embed", **prototypes)
        rest = rest.bind(centroid=groups.labels, distance=groups.distances, hardness=hardness)
        easy, hard = self._quotas(rest, each) if self.ranking == "quota" else self._ends(rest, size)
        return pool.selection(
            hard + easy + base,
            score="hardness",
            because={
                "neither in the base nor in its centroid's quota": embedded,
                "random base": base,
                "easy: close to its centroid": easy,
                "hard: far from its centroid": hard,
            },
            details={name: rest.column(name) for name in ("centroid", "distance")},
            vector="embed",
        )

    def _quotas(self, rest: Subset, each: int) -> tuple[Ranking, Ranking]:
        """The easy and the hard samples of all centroids, `each` of a centroid."""
        shares = {"easy": 1 - self.hard, "hard": self.hard}
        found = rest.reduce(quota, "hardness", "centroid", per_centroid=each, **shares)
        return found.positions[found.tags == "easy"], found.positions[found.tags == "hard"]

    def _ends(self, rest: Subset, size: int) -> tuple[Ranking, Ranking]:
        """The easiest and the hardest samples of them all, together `size`."""
        easy = rest.ranked_lowest("hardness")[: int((1 - self.hard) * size)]
        return easy, (rest - easy).ranked("hardness")[: size - len(easy)]
