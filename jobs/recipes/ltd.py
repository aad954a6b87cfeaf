"""LTD: Maybe Only 0.5% Data Is Needed (Chen et al. 2023, arXiv 2305.09246).

Embed the samples, find the centroids of the target task, and cover its samples with k-center greedy. No code
was released, and the paper leaves choices open; each is a field:

- The encoder is all-MiniLM-L6-v2, mean-pooled and normalised, over instruction and response. `--as-published`
  takes a BERT (the checkpoint is not known for certain: bert-base-uncased).
- `target` names a task by the value of the record's field `label`; `examples` is a file of target samples, for
  a corpus without labels. With neither the whole pool is covered: the method without its task search.
- `centroids` is not given: by default one a label, or 32. The target's centroids are those where it has the
  majority; if it has it nowhere, the samples with its label are taken instead (`candidates=label` always does).
  With examples it is the centroid nearest to their mean.
- `first` is not given: the candidate closest to the target's mean (or a random one), then farthest first.
  Duplicates of kept samples are never taken: where nothing else is left, fewer than the budget are kept.
"""

from typing import ClassVar, Literal

import numpy as np
from operators.kernels.kmeans import kmeans
from pydantic import Field as Limits
from pydantic.dataclasses import dataclass

from jobs.engine.errors import UsageError
from jobs.engine.pool import Pool
from jobs.engine.recipe import Recipe
from jobs.engine.selection import Selection
from operators.base import STRICT, Operator
from operators.embed import Embed
from operators.field import Field
from operators.kernels.center import closest, mean_direction
from operators.kernels.k_center import k_center
from operators.kernels.voting import centroids_of


@dataclass(frozen=True, config=STRICT)
class LTD(Recipe):
    """Cluster, find the target task, cover it."""

    published: ClassVar = {
        "embed.model.name": "google-bert/bert-base-uncased",
        "embed.pooling": "mean",
        "embed.max_tokens": 512,
        "budget": "0.5%",
    }

    embed: Embed = Embed(text="{conversation}")
    label: Field = Field("task")
    target: str = ""
    examples: str = ""
    candidates: Literal["centroid", "label"] = "centroid"
    centroids: int | None = Limits(default=None, ge=1)
    first: Literal["center", "random"] = "center"

    def operators(self) -> dict[str, Operator]:
        """The label is read only where there is a target to compare it with."""
        declared = super().operators()
        return declared if self.target else {name: each for name, each in declared.items() if name != "label"}

    def select(self, pool: Pool) -> Selection:
        """k-center picks among the target's samples, the closest to the target's mean first."""
        pool = self.counted(pool.map(**self.operators()))
        ids = pool.valid("embed")
        tasks = pool.values("label", ids) if self.target else np.array([""] * len(ids), object)
        if self.target and self.target not in tasks:
            raise UsageError(f"no sample has {self.label.name}={self.target!r}; there are {sorted(set(tasks))[:20]}")
        count = min(self.centroids or (len(set(tasks)) if self.target else 32), len(ids))
        groups = pool.reduce(kmeans, "embed", only=ids, k=count, seed=self.seed)
        chosen, center = self._target(pool, ids, tasks, groups)
        candidates = ids[chosen]
        if self.first == "random":
            first = int(np.random.default_rng(self.seed).integers(len(candidates)))
        else:
            first = pool.reduce(closest, "embed", only=candidates, center=center)
        distance = np.full(pool.samples, np.nan)

        def farthest_first(k: int) -> np.ndarray:
            cover = pool.reduce(k_center, "embed", only=candidates, k=k, first=first)
            picks = candidates[cover.picks]
            distance[picks] = np.where(np.isfinite(cover.distances), cover.distances, np.nan)
            return picks

        kept = self.within(pool, farthest_first)
        distance[np.setdiff1d(np.arange(pool.samples), kept)] = np.nan
        return pool.select(
            kept,
            score=(np.arange(pool.samples), distance),
            reasons={
                "not of the target task": np.empty(0, int),
                "near enough to kept samples": candidates,
                "farthest from all kept before it": kept,
                "first center": kept[:1],
            },
            details={"centroid": (ids, groups.labels), "distance": (ids, groups.distances)},
            vector="embed",
        )

    def _target(self, pool: Pool, ids: np.ndarray, tasks: np.ndarray, groups) -> tuple[np.ndarray, np.ndarray]:
        """Positions in `ids` of the candidates, and the direction of the target's mean."""
        everything = np.arange(len(ids))
        if self.examples:
            beside = pool.beside(self.examples).map(embed=self.embed)
            center = beside.reduce(mean_direction, "embed")
            nearest = closest(groups.centroids, center)
            return np.flatnonzero(groups.labels == nearest), center
        if not self.target:
            return everything, pool.reduce(mean_direction, "embed", only=ids)
        of_target = everything[tasks == self.target]
        won = centroids_of(self.target, groups.labels, tasks)
        inside = everything[np.isin(groups.labels, won)]
        own = np.intersect1d(of_target, inside) if len(inside) else of_target
        chosen = of_target if self.candidates == "label" or not len(inside) else inside
        return chosen, pool.reduce(mean_direction, "embed", only=ids[own])
