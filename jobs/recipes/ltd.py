"""LTD: Maybe Only 0.5% Data Is Needed (Chen et al. 2023, arXiv 2305.09246).

1. Embed the samples.
2. Cluster the embeddings by k-means.
3. Find the centroids of the target task, and take their samples.
4. Cover these samples by k-center greedy: start at the sample closest to the target's mean, and repeatedly pick the
   sample farthest from all picks.

Before use: no code was released, and what the paper leaves open is a field. With neither `target` nor `examples`, the
whole pool is covered, without the search for a task. Duplicates of kept samples are never kept, so fewer samples than
the budget are kept where nothing else is left.
"""

from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field as Limits
from pydantic.dataclasses import dataclass

from jobs.engine.command.places import missing
from jobs.engine.recipe import Budget, Pool, Ranking, Reads, Recipe, Selection, Step, Subset
from jobs.engine.terminal.errors import UsageError
from jobs.methods.covering import Covering, First, cover_of, first_center
from operators.base import STRICT
from operators.embedding.embed import Embed
from operators.field import Field
from operators.kernels.center import closest, mean_direction
from operators.kernels.kmeans import kmeans
from operators.kernels.voting import rows_of
from operators.kernels.words import different

CENTROIDS = 32


@dataclass(frozen=True, config=STRICT)
class LTD(Recipe):
    """Cluster the samples, find the target task, and cover it."""

    published: ClassVar = {
        "embed.model.name": "google-bert/bert-base-uncased", "embed.precision": "float32", "embed.stored": "float32",
    }  # fmt: skip
    fewer: ClassVar = "all other candidates have the vectors of kept samples"

    budget: Budget = "0.5%"
    embed: Embed = Embed(text="{conversation}")
    """The embedding of the conversation. As published, a BERT in float32; which checkpoint it was is not known."""
    label: Field = Field("task")
    """The field of the records that names their task."""
    target: str = ""
    """The target task, by its value in `label`."""
    examples: str = ""
    """A file of target samples, for a corpus without labels. The target is the centroid nearest to their mean."""
    candidates: Literal["centroid", "label"] = "centroid"
    """centroid: cover all samples of the centroids in which the target's label has the majority, or, where it has none,
    the samples with the label. label: cover the samples with the label."""
    centroids: int | None = Limits(default=None, ge=1)
    """The number of centroids; none: one per label, or 32 without a target."""
    first: First = "center"
    """The first pick. center: the candidate closest to the target's mean. random: a random candidate."""
    cover: Covering = "exact"
    """two_round: parts are covered first, and then their picks, for millions of picks; the manifest has its radius."""

    def steps(self) -> dict[str, Step]:
        """The steps; the label is read only where there is a target to compare it with."""
        steps = {name: step for name, step in super().steps().items() if self.target or name != "label"}
        return steps | ({"examples": Reads(self.examples)} if self.examples else {})

    def refusals(self) -> Iterator[str]:
        """Refuses a missing file of examples."""
        if self.examples:
            yield from missing("examples", self.examples)

    def select(self, pool: Pool) -> Selection:
        """Keeps the k-center picks among the samples of the target task."""
        embedded = pool.map(embed=self.embed, **({"label": self.label} if self.target else {}))
        count = min(self.centroids or self._labels(embedded) or CENTROIDS, len(embedded))
        groups = embedded.reduce(kmeans, "embed", k=count, seed=self.seed)
        grouped = embedded.bind(centroid=groups.labels, distance=groups.distances)
        candidates, center = self._target(pool, grouped, groups.centroids)
        first = first_center(candidates, self.first, self.seed, center=center)

        def farthest_first(k: int) -> Ranking:
            cover = cover_of(candidates, k, self.cover, first=first)
            return cover.picks.bind(gap=cover.distances)

        kept = self.within(pool, farthest_first)
        return pool.selection(
            kept,
            score=kept.having("gap").column("gap"),
            because={
                "not of the target task": grouped,
                "close to a kept sample": candidates,
                "farthest from all kept before it": kept,
                "first center": kept[:1],
            },
            details={name: grouped.column(name) for name in ("centroid", "distance")},
            vector="embed",
        )

    def _labels(self, embedded: Subset) -> int:
        """The number of tasks, 0 without a target; UsageError where no sample has the target as its label."""
        if not self.target:
            return 0
        tasks = embedded.reduce(different, "label")
        if self.target not in tasks:
            raise UsageError(f"no sample has {self.label.name}={self.target!r}; the tasks are {tasks[:20]}")
        return len(tasks)

    def _target(self, pool: Pool, grouped: Subset, centroids: np.ndarray) -> tuple[Subset, np.ndarray]:
        """The samples to cover, and the mean direction of the target, (d,)."""
        if self.examples:
            examples = pool.beside(self.examples).readable()
            center = examples.map(embed=self.embed).reduce(mean_direction, "embed")
            return grouped[grouped.values("centroid") == closest(centroids, center)], center
        if not self.target:
            return grouped, grouped.reduce(mean_direction, "embed")
        candidates, own = grouped.reduce(rows_of, "centroid", "label", target=self.target, by=self.candidates)
        return candidates, own.reduce(mean_direction, "embed")
