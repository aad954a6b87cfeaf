"""Reuses values: a sample gets the value of an equal sample in another pool, or of an earlier one in its own pool."""

import numpy as np
import pyarrow as pa
import ray

from jobs.engine.samples.reading import Parts, read_samples
from jobs.engine.store.feature import VALUE, Feature, share_errors, take_over


@ray.remote(num_cpus=1)
def known_already(
    feature: Feature, others: list[Feature], parts: Parts, ids: np.ndarray, known_by: str
) -> tuple[int, np.ndarray]:
    """Takes values of equal samples over from other pools.

    feature: the feature of this pool. others: the same operator's features of other pools. known_by: the hash column
    by which samples are equal. Returns the number of values that were taken over, and the ids of the samples whose
    hash repeats that of an earlier sample.
    """
    table = _hashes(parts, ids, known_by)
    taken = take_over(feature, others, table)
    numbers = table["sha"].combine_chunks().dictionary_encode().indices
    _, first = np.unique(numbers.to_numpy(), return_index=True)
    return taken, np.delete(table["id"].to_numpy(), first)


@ray.remote(num_cpus=1)
def share_with_repeats(feature: Feature, parts: Parts, ids: np.ndarray, known_by: str) -> None:
    """Gives each sample that repeats the hash of an earlier one the value, or the error, of that one."""
    if len(ids):
        table = _hashes(parts, ids, known_by)
        take_over(feature, [feature], table)
        states = feature.states(sum(parts.rows))
        share_errors(feature, table.filter(pa.array(states[table["id"].to_numpy()] != VALUE)))


def _hashes(parts: Parts, ids: np.ndarray, known_by: str) -> pa.Table:
    return pa.concat_tables(read_samples(parts, ids, ["id", known_by])).rename_columns(["id", "sha"])
