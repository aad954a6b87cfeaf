"""DEFT-UCS: unsupervised core-set selection (Das & Khetan 2023, arXiv 2310.16776), with the prototype metric of
Sorscher et al. (2022, arXiv 2206.14486).

A stratified random base, and from each centroid of the rest a quota of its easiest (closest) and hardest
(farthest) samples. No code was released by the authors; what the paper fixes or leaves open is a field:

- Only the instruction is embedded, as the method can run before there are responses (then with --answers optional).
  The encoder is all-MiniLM-L6-v2; `--as-published` takes Sentence-T5 (the size is not known for certain: large), in
  float32.
- `centroids` 7 and `hard` 1 (the share of a centroid's quota that is hard; the rest is easy) are the paper's
  headline: hard sampling. It is drawn to outliers, so a quality gate before it is advisable.
- `base` is the random base's part of the budget. The headline keeps 32.5 %, about 20 points of it the base: 8/13.
  The base has every label's share (`label` names the record's field) and is left out of the clustering.
- A centroid's quota is the rest of the budget over the centroids, rounded down; the base takes what that leaves.
  A centroid with fewer samples than its quota gives all it has, and the total falls short of the budget by that.
- `ranking=pool` is Sorscher's: no quota and no base; the hardest (easiest) of the whole pool are kept.
- Distance is one minus cosine; ties go by id.
"""

from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field as Limits
from pydantic.dataclasses import dataclass

from jobs.engine.pool.pool import Pool
from jobs.engine.pool.selection import Selection
from jobs.engine.recipe.recipe import Budget, Recipe
from operators.base import STRICT
from operators.embedding.embed import Embed
from operators.field import Field
from operators.kernels.kmeans import kmeans
from operators.kernels.prototype import prototype_distance, quota
from operators.kernels.ranking import ranked
from operators.kernels.sampling import stratified_sample


@dataclass(frozen=True, config=STRICT)
class DEFT(Recipe):
    """A random base and a quota of easy and hard samples a centroid."""

    published: ClassVar = {
        "embed.model.name": "sentence-transformers/sentence-t5-large",
        "embed.precision": "float32",
        "embed.stored": "float32",
    }

    budget: Budget = "32.5%"
    embed: Embed = Embed(text="{instruction}")
    label: Field = Field("task")
    centroids: int = Limits(default=7, ge=1)
    base: float = Limits(default=8 / 13, ge=0, le=1)
    hard: float = Limits(default=1.0, ge=0, le=1)
    ranking: Literal["quota", "pool"] = "quota"

    def refusals(self) -> Iterator[str]:
        """A budget in tokens."""
        yield from self.refused_in_tokens()

    def select(self, pool: Pool) -> Selection:
        """Base, then each centroid's easy and hard samples; or the whole pool by its distances."""
        pool = pool.map(embed=self.embed, label=self.label)
        ids = pool.valid("embed", "label")
        size = min(self.size(pool), len(ids))
        each = int((1 - self.base) * size / self.centroids) if self.ranking == "quota" else 0
        base = np.empty(0, int)
        if self.ranking == "quota":
            labels = pool.values("label", ids)
            base = ids[stratified_sample(labels, size - each * self.centroids, self.seed)]
        rest = np.setdiff1d(ids, base)
        groups = pool.reduce(kmeans, "embed", only=rest, k=min(self.centroids, len(rest)), seed=self.seed)
        distance = pool.reduce(prototype_distance, "embed", only=rest, centroids=groups.centroids, labels=groups.labels)
        if self.ranking == "quota":
            found = quota(distance, groups.labels, each, easy=1 - self.hard, hard=self.hard)
            easy, hard = (rest[found.positions[found.tags == tag]] for tag in ("easy", "hard"))
        else:
            easy, hard = self._ends(rest, distance, size)
        return pool.select(
            np.concatenate([hard, easy, base]),
            score=(rest, distance),
            reasons={
                "neither in the base nor in its centroid's quota": ids,
                "random base": base,
                "easy: close to its centroid": easy,
                "hard: far from its centroid": hard,
            },
            details={"centroid": (rest, groups.labels), "distance": (rest, groups.distances)},
            vector="embed",
        )

    def _ends(self, ids: np.ndarray, distance: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
        """The ids with the least and the greatest distance of them all, together `size`."""
        few = int((1 - self.hard) * size)
        easy = ids[ranked(-distance)][:few]
        rest = np.isin(ids, easy, invert=True)
        return easy, ids[rest][ranked(distance[rest])][: size - few]
