"""Pools of chains: a seed's variants so far, as the messages of one sample; every step's pool has the same ids."""

import json
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray

from jobs.engine.ingest.build import fetched
from jobs.engine.ingest.dedup import DUPLICATES
from jobs.engine.ingest.folder import Folder
from jobs.engine.ingest.parts import PART_ROWS, fingerprint, fingerprint_share, part_name
from jobs.engine.ingest.tables import GROUP_ROWS, sample_writer
from jobs.engine.pool import Pool, is_pool
from jobs.engine.samples import Parts, read_samples
from jobs.engine.store import VALUE, Feature
from operators.evolve import Dimension, first_chain, longer_chain
from operators.sample import SAMPLE, Message, sha

Chain = list[Message]


class Begun(NamedTuple):
    """The chains that some samples begin."""

    folder: str
    """Their pool."""
    seeds: np.ndarray
    """The ids of the samples, by the id of the chain; ascending."""
    unusable: int
    """How many samples have no turn with the texts that are needed."""
    repeated: int
    """How many begin the chain that an earlier one begins."""


def begun(pool: Pool, ids: np.ndarray, dimension: Dimension) -> Begun:
    """A chain for each of these samples (ids ascending) that can be evolved, written to the store by a Ray task."""
    return fetched(_begun.remote(pool.parts, ids, dimension, pool.session.store.url))


def lengthened(chains: Pool, column: str, dimension: Dimension) -> Pool:
    """The chains with the variants that a column of these chains has; a chain without a new one stays as it is."""
    task = _lengthened.remote(chains.parts, chains.features[column], dimension, chains.session.store.url)
    return Pool.open(fetched(task), chains.session)


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
            elif (key := sha(chain)) not in chains:
                chains[key] = chain
                seeds.append(row["id"])
    folder = _written(list(chains.values()), store)
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
    return _written(chains, store)


def _written(chains: Sequence[Chain], store: str) -> str:
    """The folder of a pool of these chains in the store, written unless it is there; pool.json comes last."""
    shas = [sha(chain) for chain in chains]
    name = fingerprint(len(chains), [fingerprint_share(0, shas)])
    folder = Folder(f"{store}/pools/chains-{name[:16]}")
    if is_pool(folder.url):
        return folder.url
    folder.make()
    parts = [
        {"file": part_name(number), "first": first, "rows": min(PART_ROWS, len(chains) - first)}
        for number, first in enumerate(range(0, len(chains), PART_ROWS))
    ]
    for part in parts:
        ids = range(part["first"], part["first"] + part["rows"])
        columns = {
            "id": ids,
            "sha": shas[ids.start : ids.stop],
            "source": ["evolution"] * len(ids),
            "line": [None] * len(ids),
            "messages": chains[ids.start : ids.stop],
            "raw": [b"{}"] * len(ids),
        }
        with folder.writing(part["file"]) as file, sample_writer(file, SAMPLE) as writer:
            writer.write_table(pa.table(columns, schema=SAMPLE), row_group_size=GROUP_ROWS)
    with folder.writing("duplicates.parquet") as file:
        pq.write_table(DUPLICATES.empty_table(), file)
    with folder.writing("quarantine.jsonl"):
        pass
    facts = {"winnow_pool": 1, "fingerprint": name, "records": len(chains), "samples": len(chains), "duplicates": 0,
             "quarantined": 0, "sources": [], "examples": {}, "parts": parts}  # fmt: skip
    with folder.writing("pool.json") as file:
        file.write(json.dumps(facts, indent=1).encode())
    return folder.url
