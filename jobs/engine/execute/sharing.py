"""Reuses values: a sample gets the value of an equal sample in another pool, or of an earlier one in its own pool."""

import numpy as np
import pyarrow as pa
import ray

from jobs.engine.samples.reading import KNOWN_BY, Parts, read_samples
from jobs.engine.samples.runs import Runs
from jobs.engine.store.feature import Feature
from jobs.engine.store.hashes import hashes
from jobs.engine.store.store import Store
from jobs.engine.store.taking import Lacking, share_errors, take_over
from operators.base import Operator

COMPARED = 1 << 24
"""The most samples whose hashes one task compares; more are divided by their hashes among several tasks."""


def known_already(
    feature: Feature, operator: Operator, store: Store, parts: Parts, ids: Runs
) -> tuple[int, np.ndarray]:
    """Takes values of equal samples over from the operator's features in the store.

    feature: that of this pool. Returns the number of values that were taken over, and the ids, ascending, of the
    samples whose hash repeats that of an earlier sample.
    """
    of = -(-len(ids) // COMPARED)
    others, earlier = store.known(operator), store.known_earlier(operator)
    found = ray.get([_known.remote(feature, operator, others, earlier, parts, ids, share, of) for share in range(of)])
    return sum(taken for taken, _ in found), np.sort(np.concatenate([repeats for _, repeats in found]))


@ray.remote(num_cpus=1)
def _known(
    feature: Feature,
    operator: Operator,
    others: list[Feature],
    earlier: list[Feature],
    parts: Parts,
    ids: Runs,
    share: int,
    of: int,
) -> tuple[int, np.ndarray]:
    """What `known_already` returns, for the samples in one of several shares of the hashes."""
    lacking = Lacking.of(_hashes(parts, ids.ids(), KNOWN_BY[operator.belongs_to()], share, of))
    repeats = lacking.repeats()
    take_over(feature, others, lacking)
    return take_over(feature, earlier, lacking, operator.still_valid), repeats


@ray.remote(num_cpus=1)
def share_with_repeats(feature: Feature, parts: Parts, ids: np.ndarray, known_by: str) -> None:
    """Gives each sample that repeats the hash of an earlier one the value, or the error, of that one."""
    lacking = Lacking.of(_hashes(parts, ids, known_by, 0, 1))
    take_over(feature, [feature], lacking)
    share_errors(feature, lacking)


def _hashes(parts: Parts, ids: np.ndarray, known_by: str, share: int, of: int) -> pa.Table:
    """The ids and hashes of the samples whose hashes are in a share, as a table (id, sha)."""
    tables = []
    for table in read_samples(parts, ids, ["id", known_by]):
        mine = hashes(table[known_by]).view(np.uint8).reshape(-1, 16)[:, 15] % of == share
        tables.append(table if of == 1 else table.filter(pa.array(mine)))
    return pa.concat_tables(tables).rename_columns(["id", "sha"])
