"""k-center over shards on actors, for benchmarks.k_center."""

import math
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from benchmarks._gpu_kernels import made_blocks
from benchmarks._made import say_beside, write_vectors
from jobs.engine.execute.profile import Profile
from jobs.engine.execute.reduce_worker import Request
from jobs.engine.execute.reducing import found_by
from jobs.engine.execute.rows import Stored, row_bytes
from jobs.engine.execute.session import Session, connect
from jobs.engine.execute.spread import spread
from jobs.engine.store.feature import Feature
from jobs.engine.store.store import Store
from operators.kernels.k_center import k_center

PART = 65_536  # rows of a part in the store


def lines(samples: int, width: int, picks: int, shards: Sequence[int]) -> Iterator[dict[str, Any]]:
    """One line per number of shards; `identical`: whether the picks and distances are those of the first line."""
    say_beside()
    profile = Profile()
    connect(profile)
    with tempfile.TemporaryDirectory() as folder:
        stored = Stored(_written(Feature(f"{folder}/embed"), samples, width), "", np.arange(samples))
        session = Session(Store(folder), profile)
        first: Any = None
        for count in shards:
            room = math.ceil(samples * row_bytes(stored) / count) + 1
            where = spread(k_center, {"embed": stored}, samples, Profile(reduce_bytes=room))
            began = time.perf_counter()
            request = Request(k_center, [stored], samples, {"k": picks}, where)
            _, found_now = found_by(lambda request=request: request, f"k_center over {count} shards", session)
            result, rounds, moved = found_now.result, found_now.rounds, found_now.moved
            found = result.picks.tolist(), result.distances.tolist(), result.radius
            yield {
                "benchmark": "k_center_shards",
                "n": samples,
                "d": width,
                "k": picks,
                "shards": where.shards,
                "load": os.getloadavg()[0],
                "seconds": round(time.perf_counter() - began, 1),
                "rounds": rounds,
                "bytes_per_round": round(moved / rounds),
                "identical": None if first is None else found == first,
                "radius": result.radius,
            }
            first = first or found


def _written(feature: Feature, samples: int, width: int) -> Feature:
    """The feature, with so many made embeddings in half precision."""
    first = 0
    for block in made_blocks(samples, width, torch.device("cpu")):
        for rows in np.split(block, range(PART, len(block), PART)):
            write_vectors(feature, first, rows)
            first += len(rows)
    return feature
