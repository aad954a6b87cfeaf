"""LTD: Maybe Only 0.5% Data Is Needed (Chen et al. 2023, arXiv 2305.09246).

Embed the samples, find the centroids of the target task, and cover its samples with k-center greedy. No code
was released, and the paper leaves choices open; each is a field:

- The encoder is all-MiniLM-L6-v2, mean-pooled and normalised, over instruction and response. `--as-published`
  takes a BERT (the checkpoint is not known for certain: bert-base-uncased), in float32.
- `target` names a task by the value of the record's field `label`; `examples` is a file of target samples, for
  a corpus without labels. With neither the whole pool is covered: the method without its task search.
- `centroids` is not given: by default one a label, or 32. The target's centroids are those where it has the
  majority; if it has it nowhere, the samples with its label are taken instead (`candidates=label` always does).
  With examples it is the centroid nearest to their mean.
- `first` is not given: the candidate closest to the target's mean (or a random one), then farthest first.
  Duplicates of kept samples are never taken: where nothing else is left, fewer than the budget are kept.
"""

from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field as Limits
from pydantic.dataclasses import dataclass

from jobs.engine.command.places import missing
from jobs.engine.pool.pool import Pool
from jobs.engine.pool.selection import Selection
from jobs.engine.recipe.recipe import Budget, Reads, Recipe, Step
from jobs.engine.terminal.errors import UsageError
from operators.base import STRICT
from operators.embedding.embed import Embed
from operators.field import Field
from operators.kernels.center import closest, mean_direction
from operators.kernels.k_center import Cover, k_center
from operators.kernels.kmeans import Clustering, kmeans
from operators.kernels.voting import rows_of


@dataclass(frozen=True, config=STRICT)
class LTD(Recipe):
    """Cluster, find the target task, cover it."""

    published: ClassVar = {
        "embed.model.name": "google-bert/bert-base-uncased",
        "embed.precision": "float32",
        "embed.stored": "float32",
    }

    budget: Budget = "0.5%"
    embed: Embed = Embed(text="{conversation}")
    label: Field = Field("task")
    target: str = ""
    examples: str = ""
    candidates: Literal["centroid", "label"] = "centroid"
    centroids: int | None = Limits(default=None, ge=1)
    first: Literal["center", "random"] = "center"

    def steps(self) -> dict[str, Step]:
        """The label is read only where there is a target to compare it with."""
        steps = super().steps()
        if not self.target:
            steps.pop("label")
        return steps | ({"examples": Reads(self.examples)} if self.examples else {})

    def refusals(self) -> Iterator[str]:
        """Examples that are not there."""
        if self.examples:
            yield from missing("examples", self.examples)

    def select(self, pool: Pool) -> Selection:
        """k-center picks among the target's samples, the closest to the target's mean first."""
        pool = self.counted(pool.map(embed=self.embed))
        pool = pool.map(label=self.label) if self.target else pool
        ids = pool.valid(*pool.features)
        tasks = pool.values("label", ids) if self.target else np.full(len(ids), "")
        if self.target and self.target not in tasks:
            raise UsageError(f"no sample has {self.label.name}={self.target!r}; there are {sorted(set(tasks))[:20]}")
        count = min(self.centroids or (len(set(tasks)) if self.target else 32), len(ids))
        groups = pool.reduce(kmeans, "embed", only=ids, k=count, seed=self.seed)
        candidates, center = self._target(pool, ids, tasks, groups)
        if self.first == "random":
            first = int(np.random.default_rng(self.seed).integers(len(candidates)))
        else:
            first = pool.reduce(closest, "embed", only=candidates, center=center)
        covers: list[Cover] = []

        def farthest_first(k: int) -> np.ndarray:
            covers.append(pool.reduce(k_center, "embed", only=candidates, k=k, first=first))
            return candidates[covers[-1].picks]

        kept = self.within(pool, farthest_first)
        gaps = covers[-1].distances[: len(kept)].astype(float)
        return pool.select(
            kept,
            score=(kept, np.where(np.isfinite(gaps), gaps, np.nan)),
            reasons={
                "not of the target task": ids,
                "near enough to kept samples": candidates,
                "farthest from all kept before it": kept,
                "first center": kept[:1],
            },
            details={"centroid": (ids, groups.labels), "distance": (ids, groups.distances)},
            vector="embed",
        )

    def _target(
        self, pool: Pool, ids: np.ndarray, tasks: np.ndarray, groups: Clustering
    ) -> tuple[np.ndarray, np.ndarray]:
        """The ids of the candidates, and the direction of the target's mean."""
        if self.examples:
            examples = pool.beside(self.examples).readable()
            center = examples.map(embed=self.embed).reduce(mean_direction, "embed")
            return ids[groups.labels == closest(groups.centroids, center)], center
        candidates = own = np.arange(len(ids))
        if self.target:
            candidates, own = rows_of(self.target, groups.labels, tasks, self.candidates)
        return ids[candidates], pool.reduce(mean_direction, "embed", only=ids[own])
