"""DEFT-UCS: unsupervised core-set selection (Das & Khetan 2023, arXiv 2310.16776), with the prototype metric of
Sorscher et al. (2022, arXiv 2206.14486).

1. Draw a random base, stratified by label.
2. Embed the samples, and cluster those that are not in the base.
3. Compute the distance of each sample to its own centroid: one minus the cosine.
4. From each centroid, keep a quota of its easiest samples, which are the closest, and of its hardest, the farthest.

Before use: the headline setting is hard sampling, which favours outliers, so filter by quality before it. No code was
released, and what the paper leaves open is a field. A centroid with fewer samples than its quota gives all of them, and
fewer samples than the budget are kept. A budget of fewer than `centroids` / (1 - `base`) samples, 19 by default, leaves
no quota: all of it is the random base. Ties go by id.
"""

from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import Field as Limits
from pydantic.dataclasses import dataclass

from jobs.engine.recipe import Budget, Pool, Ranking, Recipe, Selection, Subset
from jobs.engine.terminal.errors import UsageError
from operators.base import STRICT
from operators.embedding.embed import Embed
from operators.field import Field
from operators.kernels.kmeans import kmeans
from operators.kernels.prototype import prototype_distance, quota, whole
from operators.kernels.sampling import stratified_sample
from operators.kernels.words import different

LABEL = Field("task")


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
    """The embedding of the instruction alone, so the method can run before there are responses (with
    --keep-unanswered). As published, Sentence-T5 in float32; its size is not known for certain."""
    label: Field = LABEL
    """The field of the records by which the base is stratified. Where no record has a task, the base is random."""
    centroids: int = Limits(default=7, ge=1)
    """The number of centroids; 7 is the headline setting of the paper."""
    base: float = Limits(default=8 / 13, ge=0, le=1)
    """The base's share of the budget. The headline setting keeps 32.5 %, of which about 20 points are the base."""
    hard: float = Limits(default=1.0, ge=0, le=1)
    """The share of hard samples in a centroid's quota; the rest is easy."""
    ranking: Literal["quota", "pool"] = "quota"
    """quota: as above. pool: as in Sorscher et al., the hardest and easiest of the pool, without base or quotas."""

    def refusals(self) -> Iterator[str]:
        yield from self.refused_in_tokens()

    def select(self, pool: Pool) -> Selection:
        """Keeps the base and each centroid's easy and hard samples, or the easiest and hardest of the pool."""
        embedded = pool.map(embed=self.embed, label=self.label)
        self._refuse_unlabelled(embedded)
        size = min(self.budget_size(pool), len(embedded))
        # The quotas are rounded down, and the base takes the rest of the budget.
        each = whole((1 - self.base) * size / self.centroids) if self.ranking == "quota" else 0
        drawn = size - each * self.centroids if self.ranking == "quota" else 0
        base = embedded.reduce(stratified_sample, "label", size=drawn, seed=self.seed)
        rest = embedded - base
        if not len(rest):  # nothing to cluster: of few samples the base can be all
            return pool.selection(base, because={"random base": base}, vector="embed")
        groups = rest.reduce(kmeans, "embed", k=min(self.centroids, len(rest)), seed=self.seed)
        rest = rest.bind(centroid=groups.labels, distance=groups.distances)
        rest = rest.bind(hardness=rest.reduce(prototype_distance, "embed", "centroid", centroids=groups.centroids))
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

    def _refuse_unlabelled(self, embedded: Subset) -> None:
        """UsageError where a label was named and no sample has one: the base would be drawn as if nothing was named."""
        if self.label != LABEL and embedded.reduce(different, "label") == [""]:
            raise UsageError(f"label.name={self.label.name}: no sample has a value in this field")

    def _quotas(self, rest: Subset, each: int) -> tuple[Ranking, Ranking]:
        """The easy and the hard samples of all centroids; each: the number of samples per centroid."""
        shares = {"easy": 1 - self.hard, "hard": self.hard}
        found = rest.reduce(quota, "hardness", "centroid", per_centroid=each, **shares)
        return found.positions[found.tags == "easy"], found.positions[found.tags == "hard"]

    def _ends(self, rest: Subset, size: int) -> tuple[Ranking, Ranking]:
        """The easiest and the hardest of all samples, `size` in total."""
        easy = rest.ranked_lowest("hardness")[: whole((1 - self.hard) * size)]
        return easy, (rest - easy).ranked("hardness")[: size - len(easy)]
