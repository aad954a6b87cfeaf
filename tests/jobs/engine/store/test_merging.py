"""Parts that are merged, the file of their states, and processes that are killed in between."""

import time
from collections import Counter
from typing import ClassVar

import fsspec
import numpy as np
import pyarrow as pa
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from jobs.engine.execute.columns import column
from jobs.engine.outcome.explanation import nearest_kept
from jobs.engine.store import merging
from jobs.engine.store.feature import ERROR, MERGED, VALUE, Feature
from jobs.engine.store.merging import settled
from jobs.engine.store.states import FILE
from operators.base import RowError

SAMPLES = 40


class Killed(BaseException):
    """Ends the process, as far as the code under test can tell."""


class Deadly(MemoryFileSystem):
    """An object store, at which a process is killed before one of its changes."""

    protocol = "deadly"
    cachable = False
    left: float = float("inf")
    """The number of changes before that."""
    store, pseudo_dirs = {}, [""]

    def _change(self) -> None:
        if not Deadly.left:
            raise Killed
        Deadly.left -= 1

    def put_file(self, *args, **kwargs):
        self._change()
        super().put_file(*args, **kwargs)

    def rm_file(self, path):
        self._change()
        super().rm_file(path)


fsspec.register_implementation("deadly", Deadly, clobber=True)


def write(feature: Feature, ids, values) -> None:
    array, errors = column(values, len(ids))
    feature.write(np.array(ids), pa.array([bytes([each]) * 16 for each in ids], pa.binary(16)), array, errors)


def fill(feature: Feature) -> None:
    """Batches, with an error that was retried, samples that two workers computed differently, and only errors."""
    for begin in range(0, 32, 4):
        write(
            feature,
            range(begin, begin + 4),
            [RowError("down") if at == 5 else float(at) for at in range(begin, begin + 4)],
        )
    write(feature, [5, 6], [50.0, 60.0])
    write(feature, [9, 1], [RowError("late"), 10.0])
    write(feature, [35, 33], [RowError("down"), RowError("down")])


def seen(feature: Feature) -> tuple[list, dict, dict]:
    """All that readers can tell: the states, the values and the errors."""
    states = feature.states(SAMPLES)
    valued = np.flatnonzero(states == VALUE)
    values = dict(zip(valued.tolist(), feature.values(valued).tolist(), strict=True))
    errors = {sample: error for sample, error in feature.errors() if states[sample] == ERROR}
    blocks = [place for places, _ in feature.blocks(valued) for place in places.tolist()]
    assert sorted(blocks) == list(range(len(valued)))
    return states.tolist(), values, errors


@pytest.fixture
def deadly(monkeypatch):
    monkeypatch.setattr(merging, "MERGED_ROWS", 12)
    yield Feature("deadly://store/feature")
    Deadly.left = float("inf")
    Deadly.store.clear()


@pytest.mark.fault(
    "a process is killed at any point of writing",
    how="an end before each change of a file while parts are merged",
    holds="readers see each sample once, with its value, before and after the next merge",
)
def test_a_process_killed_at_any_point_of_merging_loses_nothing_and_doubles_nothing(deadly):
    changes, killed = -1, True
    while killed:
        changes += 1
        Deadly.store.clear()
        fill(deadly)
        before = seen(deadly)
        Deadly.left = changes
        try:
            settled(deadly, SAMPLES)
            killed = False
        except Killed:
            killed = True
        Deadly.left = float("inf")
        assert seen(deadly) == before
        assert settled(deadly, SAMPLES).tolist() == before[0]
        assert seen(deadly) == before
        assert sorted(deadly.ids()) == [*range(32), 33, 35]
        assert all(name.startswith(MERGED) for name in deadly.names())
        assert len(deadly.names()) <= 5
    assert changes > 11 + 4  # a change per part that is removed, per merged one, and the file


def test_many_small_parts_become_few_and_later_ones_join_them(tmp_path, monkeypatch):
    monkeypatch.setattr(merging, "MERGED_ROWS", 12)
    feature = Feature(str(tmp_path))
    for begin in range(0, 20, 2):
        write(feature, [begin, begin + 1], np.ones((2, 3), np.float16) * begin)
    assert (settled(feature, SAMPLES) == VALUE).sum() == 20
    first = feature.names()
    assert [len(table) for table in feature.tables("id")] in ([12, 8], [8, 12])
    write(feature, [30, 31], np.ones((2, 3), np.float16) * 30)
    settled(feature, SAMPLES)
    assert feature.names() == sorted({*first, feature.names()[0], feature.names()[-1]})
    assert (feature.values(np.array([31, 7, 0]))[:, 0] == [30, 6, 0]).all()
    assert feature.states(SAMPLES)[[0, 30]].tolist() == [VALUE, VALUE]


def test_small_parts_of_an_object_store_are_fetched_many_at_a_time_and_removed_in_one_request(s3):
    feature = Feature(f"{s3.bucket()}/feature")
    fill(feature)
    parts = len(feature.parts())
    methods, inside, most = Counter(), [], []

    def slow(method, path):
        methods[method] += 1
        inside.append(path)
        most.append(len(inside))
        time.sleep(0.05)
        inside.remove(path)

    s3.fault = slow
    states = settled(feature, SAMPLES)
    s3.fault = None
    assert parts > 4
    assert max(most) > 4
    assert (methods["DELETE"], methods["POST"]) == (0, 1)
    assert all(name.startswith(MERGED) for name in feature.names())
    assert np.array_equal(states, feature.states(SAMPLES))


def test_states_are_read_from_their_file_and_not_from_the_parts(tmp_path):
    feature = Feature(str(tmp_path))
    write(feature, [1, 2], [1.0, RowError("down")])
    states = settled(feature, SAMPLES)
    (part,) = tmp_path.glob("part-*.parquet")
    content = part.read_bytes()
    part.write_bytes(b"not read")
    assert feature.states(SAMPLES).tolist() == states.tolist()
    part.write_bytes(content)
    write(feature, [2], [2.0])
    assert feature.states(SAMPLES)[:3].tolist() == [0, VALUE, VALUE]


@pytest.mark.parametrize("also", ["nothing", "the file"])
@pytest.mark.fault(
    "stored parts disappear",
    how="part files are deleted, with and without the file of the states",
    holds="their samples count as missing, and are computed again",
)
def test_samples_of_a_part_that_is_gone_are_missing_again(tmp_path, also):
    feature = Feature(str(tmp_path))
    write(feature, [1, 2], np.ones(2))
    settled(feature, SAMPLES)
    for path in tmp_path.glob("part-*"):
        path.unlink()
    if also == "the file":
        (tmp_path / FILE).unlink()
    assert not feature.states(SAMPLES).any()
    assert not settled(feature, SAMPLES).any()


def test_an_error_that_is_retried_in_a_batch_of_the_same_samples_gets_its_value(tmp_path):
    feature = Feature(str(tmp_path))
    for outcome in ([RowError("down"), RowError("down")], [RowError("down"), 2.0], [1.0, 2.0]):
        write(feature, [4, 5], outcome)
        states = settled(feature, SAMPLES)
        expected = [ERROR if isinstance(each, RowError) else VALUE for each in outcome]
        assert states[4:6].tolist() == feature.states(SAMPLES)[4:6].tolist() == expected
    assert feature.values(np.array([5, 4])).tolist() == [2.0, 1.0]


@pytest.mark.parametrize("rows", [4, 100])  # a merged part that is large enough stays as it is, and others do not
def test_a_retry_that_fails_has_its_own_error_and_not_the_earlier_one(tmp_path, monkeypatch, rows):
    monkeypatch.setattr(merging, "MERGED_ROWS", rows)
    feature = Feature(str(tmp_path))
    write(feature, [4, 5, 6, 7], [RowError("unreachable"), 5.0, RowError("unreachable"), RowError("unreachable")])
    settled(feature, SAMPLES)
    write(feature, [4, 6], [RowError("too_long"), 6.0])
    settled(feature, SAMPLES)
    assert dict(feature.errors()) == {4: str(RowError("too_long")), 7: str(RowError("unreachable"))}
    assert sorted(feature.ids()) == [4, 5, 6, 7]
    assert feature.values(np.array([5, 6])).tolist() == [5.0, 6.0]


def test_values_of_different_types_are_not_mixed_in_one_part(tmp_path):
    feature = Feature(str(tmp_path))
    write(feature, [0], [{"score": 1.0, "note": None}])
    write(feature, [1], [{"score": 2.0, "note": "words"}])
    write(feature, [2], [RowError("down")])
    settled(feature, SAMPLES)
    assert len(feature.parts()) == 3
    assert feature.values(np.array([1, 0]), "score").tolist() == [2.0, 1.0]
    assert feature.values(np.array([0, 1])).tolist() == [
        {"score": 1.0, "note": None},
        {"score": 2.0, "note": "words"},
    ]


def test_vectors_with_rows_that_failed_are_read_without_a_copy_of_each(tmp_path):
    feature = Feature(str(tmp_path))
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((60, 5)).astype(np.float16)
    for begin in range(0, 60, 20):
        rows = [RowError("down") if at % 7 == 0 else vectors[at] for at in range(begin, begin + 20)]
        write(feature, range(begin, begin + 20), rows)
    ids = rng.permutation([at for at in range(60) if at % 7])
    for _ in range(2):
        assert np.array_equal(feature.values(ids), vectors[ids])
        assert feature.values(ids).dtype == np.float16
        settled(feature, 60)


class Late(Feature):
    """A feature whose parts are listed as they were, or as they never were at one time, while another merges them."""

    listings: ClassVar[list[list[str]]] = []

    def parts(self):
        return self.listings.pop(0) if self.listings else super().parts()


def test_a_reader_whose_listing_is_old_or_torn_lists_the_parts_again(tmp_path):
    feature, vectors = Late(str(tmp_path)), np.eye(4, dtype=np.float32)[[0, 0, 1, 1, 2, 2, 1, 0]]
    for begin in range(0, 8, 2):
        write(feature, [begin, begin + 1], [vectors[begin], RowError("down")])
    old = feature.parts()
    settled(Feature(feature.folder), SAMPLES)
    now = feature.parts()
    for stale in ([old] * 2, [[]] * 2, [old[:1]] * 2, [[], now]):
        Late.listings[:] = stale
        assert feature.states(SAMPLES)[:8].tolist() == [VALUE, ERROR] * 4
        Late.listings[:] = stale
        assert np.array_equal(feature.values(np.array([6, 0])), vectors[[6, 0]])
        Late.listings[:] = [now] * 3 + stale  # the vector of the sample is read before those of the kept ones
        assert nearest_kept(feature, 6, np.array([4, 2, 0])) == (2, pytest.approx(1))
        assert not Late.listings
    with pytest.raises(KeyError, match="no value for id 30"):
        feature.values(np.array([30]))
