"""The kept sample that is nearest to another, against the definition written out."""

import numpy as np
import pyarrow as pa
import pytest

from jobs.engine.execute.columns import column
from jobs.engine.outcome.explanation import nearest_kept
from jobs.engine.store.feature import Feature


def stored(folder, vectors, rows) -> Feature:
    """The vectors as a feature in parts of so many rows."""
    feature = Feature(str(folder))
    for first in range(0, len(vectors), rows):
        ids = np.arange(first, min(first + rows, len(vectors)))
        values, errors = column(vectors[ids], len(ids))
        feature.write(ids, pa.nulls(len(ids), pa.binary(16)), values, errors)
    return feature


def by_definition(vectors, sample, kept) -> tuple[int, float]:
    """The cosine to every kept sample, one by one; a later one has to be above all before it."""
    best, highest = -1, -np.inf
    for each in kept:
        a, b = vectors[sample].astype(np.float64), vectors[each].astype(np.float64)
        cosine = a @ b / (np.linalg.norm(a) * np.linalg.norm(b))
        if cosine > highest + 1e-9:
            best, highest = int(each), cosine
    return best, highest


@pytest.mark.parametrize("rows", [7, 1000])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_nearest_kept_is_the_highest_cosine_whatever_the_lengths(tmp_path, rows, dtype):
    rng = np.random.default_rng(3)
    vectors = (rng.standard_normal((200, 48)) * rng.uniform(0.1, 9, (200, 1))).astype(dtype)
    kept = rng.permutation(200)[:60]
    feature = stored(tmp_path, vectors, rows)
    for sample in np.setdiff1d(np.arange(200), kept):
        expected, cosine = by_definition(vectors, sample, kept)
        found, similarity = nearest_kept(feature, int(sample), kept)
        assert found == expected
        assert similarity == pytest.approx(cosine, abs=1e-6)


@pytest.mark.parametrize("rows", [3, 1000])
def test_of_equal_ones_the_best_ranked_is_the_nearest(tmp_path, rows):
    rng = np.random.default_rng(5)
    vectors = rng.standard_normal((40, 33)).astype(np.float16)
    vectors[[2, 11, 23, 38]] = vectors[5]  # 5 was dropped, and its copies were kept
    feature = stored(tmp_path, vectors, rows)
    for kept in ([30, 23, 38, 2, 11], [11, 38, 30], [1, 38, 2]):
        found, similarity = nearest_kept(feature, 5, np.array(kept))
        assert found == by_definition(vectors, 5, kept)[0]
        assert similarity == pytest.approx(1, abs=1e-6)


def test_a_vector_of_zeros_is_like_nothing(tmp_path):
    vectors = np.eye(4, dtype=np.float32)
    vectors[0] = 0
    assert nearest_kept(stored(tmp_path, vectors, 2), 0, np.array([3, 1])) == (3, 0.0)
