"""Pools of chains: a sample is a seed with its variants so far as messages. All steps' pools have the same ids."""

from typing import NamedTuple

import numpy as np
import ray

from jobs.engine.ingest.tasks import fetched
from jobs.engine.pool.pool import Pool
from jobs.engine.pool.subset import Subset
from jobs.engine.samples.reading import Parts, read_samples
from jobs.engine.store.feature import VALUE, Feature
from jobs.methods.conversations import written_pool
from operators.asking.evolve import Dimension, first_chain, longer_chain
from operators.sample import Message, text_sha

Chain = list[Message]


class Begun(NamedTuple):
    """The chains that start from some samples, before the first step."""

    folder: str
    """The folder of the chains' pool."""
    seeds: np.ndarray
    """The id of the sample that each chain starts from; (chains,) int64, ascending."""
    unusable: int
    """The number of samples without a turn that has the texts needed."""
    repeated: int
    """The number of samples whose chain equals that of an earlier sample."""


def begun(pool: Pool, ids: np.ndarray, dimension: Dimension) -> Begun:
    """Writes a chain for each of these samples (ids ascending) that can be evolved to the store, in a Ray task.

    Samples that would start equal chains share one.
    """
    return fetched(_begun.remote(pool.parts, ids, dimension, pool.session.store.url))


def lengthened(rewritten: Subset, column: str, dimension: Dimension) -> Pool:
    """The pool of all chains, each with its new variant from a column; a chain without one is unchanged."""
    feature = rewritten.columns[column].stored()
    task = _lengthened.remote(rewritten.origin.parts, feature, dimension, rewritten.session.store.url)
    return Pool.open(fetched(task), rewritten.session)


@ray.remote(num_cpus=1)
def _begun(parts: Parts, ids: np.ndarray, dimension: Dimension, store: str) -> Begun:
    chains: dict[bytes, Chain] = {}
    seeds: list[int] = []
    unusable = 0
    for table in read_samples(parts, ids, ["id", "messages"]):
        for row in table.to_pylist():
            chain = first_chain(row["messages"], dimension)
            if chain is None:
                unusable += 1
            elif (key := text_sha(chain)) not in chains:
                chains[key] = chain
                seeds.append(row["id"])
    folder = written_pool(list(chains.values()), store, "chains")
    return Begun(folder, np.array(seeds, np.int64), unusable, len(ids) - unusable - len(seeds))


@ray.remote(num_cpus=1)
def _lengthened(parts: Parts, feature: Feature, dimension: Dimension, store: str) -> str:
    everything = np.arange(sum(parts.rows))
    valued = everything[feature.states(len(everything)) == VALUE]
    texts = dict(zip(valued.tolist(), feature.values(valued, "text"), strict=True))
    chains: list[Chain] = []
    for table in read_samples(parts, everything, ["id", "messages"]):
        for row in table.to_pylist():
            text = texts.get(row["id"])
            chains.append(longer_chain(row["messages"], text, dimension) if text else row["messages"])
    return written_pool(chains, store, "chains")
