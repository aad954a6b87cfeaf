"""How a selection covers its pool and differs from it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import ray

from jobs.engine.pool.pool import Pool
from jobs.engine.pool.subset import Subset
from jobs.engine.samples.reading import Parts, read_samples
from jobs.engine.samples.runs import ids_digest
from jobs.methods.comparison import KIND
from jobs.methods.comparison.contenders import Comparison
from jobs.methods.comparison.results import Result
from jobs.methods.remembered import remembered
from jobs.methods.sources import Sources
from operators.kernels.coverage import coverage
from operators.kernels.kmeans import kmeans
from operators.sample import response
from operators.scripts import script

VERSION = 1
"""Increased when the code measures something else of the same selection."""

APART = 1_000_003
"""What the seed of the topics is above that of the selections."""


@dataclass(frozen=True)
class Texts:
    """Of n samples: the lengths of their responses, and the scripts that they are written in."""

    lengths: np.ndarray
    """(n,) int64 characters."""
    scripts: Mapping[str, int]
    """The number of samples in each script."""


@dataclass(frozen=True)
class Measures:
    """What is measured of the selections from a pool."""

    pool: Pool
    wanted: Comparison

    def of(self, result: Result) -> dict[str, Any]:
        """The measures of a selection, from the store or measured now; starts Ray only where it measures."""
        identity = {
            "measures": VERSION,
            "pools": [
                self.pool.origin.identity("record"),
                Pool.open(result.folder, self.pool.session).facts["fingerprint"],
            ],
            "kept": ids_digest(result.kept),
            "embed": self.wanted.embed.fingerprint(),
            "settings": [self.wanted.topics, self.wanted.near, self.wanted.source, self.wanted.seed],
        }
        return remembered(self.pool.session, KIND, identity, lambda: self._measured(result))

    @property
    def tokens(self) -> float:
        """The mean tokens of a sample, from the store or counted now."""
        counted = self.wanted.tokens
        identity = {"tokens": counted.fingerprint(), "pool": self.pool.origin.identity("conversation")}
        return remembered(
            self.pool.session, KIND, identity, lambda: float(self.pool.map(tokens=counted).values("tokens").mean())
        )

    def _measured(self, result: Result) -> dict[str, Any]:
        kept = Pool.open(result.folder, self.pool.session)[np.sort(result.kept)]
        if not len(kept):
            return {}
        texts, sources = _texts(kept), Sources.read(kept, self.wanted.source)
        of_kept = dict(zip(sources.names, np.bincount(sources.of).tolist(), strict=True))
        of_pool = dict(zip(self.sources.names, np.bincount(self.sources.of).tolist(), strict=True))
        return {
            **self._vectors(result),
            "sources": len(of_pool.keys() & of_kept.keys()) / len(of_pool),
            "length": float(texts.lengths.mean() / max(self.texts.lengths.mean(), 1e-9)),
            "script_shift": shift(self.texts.scripts, texts.scripts),
            "source_shift": shift(of_pool, of_kept),
        }

    def _vectors(self, result: Result) -> dict[str, Any]:
        """What is measured of the embeddings; a kept sample without one is not among the nearest."""
        whole = Pool.open(result.folder, self.pool.session).map(embed=self.wanted.embed)
        found = whole.reduce(
            coverage,
            "embed",
            kept=whole.ids[np.isin(whole.ids, result.kept)],
            rows=int(np.searchsorted(whole.ids, self.pool.samples)),
            centroids=self.centroids,
            near=float(np.sqrt(2 - 2 * self.wanted.near)),
        )
        return {
            "radius": found.radius,
            "mean_distance": found.mean_distance,
            "topics": found.topics / len(self.centroids),
            "near_duplicates": found.near_duplicates,
        }

    @cached_property
    def centroids(self) -> np.ndarray:
        """(topics, d) the centroids of the pool."""
        embedded = self.pool.map(embed=self.wanted.embed)
        # k-means begins with the samples that its seed draws. With the seed of a random selection these would be the
        # same samples, and that selection would seem to cover all topics.
        seed = self.wanted.seed + APART
        return embedded.reduce(kmeans, "embed", k=min(self.wanted.topics, len(embedded)), seed=seed).centroids

    @cached_property
    def texts(self) -> Texts:
        """The texts of the pool."""
        return _texts(self.pool)

    @cached_property
    def sources(self) -> Sources:
        """The sources of the pool."""
        return Sources.read(self.pool, self.wanted.source).named_by(self.wanted.source)


def shift(pool: Mapping[str, int], kept: Mapping[str, int]) -> float:
    """The total variation distance of two distributions by their counts, 0 for the same shares, up to 1 for no overlap.

    >>> shift({"a": 2, "b": 2}, {"a": 1})
    0.5
    """
    totals = max(sum(pool.values()), 1), max(sum(kept.values()), 1)
    return sum(abs(pool.get(name, 0) / totals[0] - kept.get(name, 0) / totals[1]) for name in {*pool, *kept}) / 2


def _texts(samples: Subset) -> Texts:
    return ray.get(_read.remote(samples.origin.parts, samples.ids))


@ray.remote(num_cpus=1)
def _read(parts: Parts, ids: np.ndarray) -> Texts:
    """The texts of these samples, read in a task, as they may be gigabytes."""
    lengths: list[int] = []
    scripts: Counter[str] = Counter()
    for table in read_samples(parts, ids, ["messages"]):
        for messages in table["messages"].to_pylist():
            lengths.append(len(response(messages)))
            scripts[script("\n".join(message["content"] for message in messages))] += 1
    return Texts(np.array(lengths, np.int64), dict(scripts))
