"""Parts, their names, and values taken over by content."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.engine.execute.columns import column, computed
from jobs.engine.store.feature import ERROR, MISSING, VALUE, Feature
from jobs.engine.store.store import Store
from jobs.engine.store.taking import Lacking, take_over
from jobs.engine.terminal.errors import WinnowError
from operators.asking.judge import Judge
from operators.base import RowError
from tests.standins import Hashed


def shas(ids) -> pa.Array:
    return pa.array([bytes([i % 256] * 16) for i in ids], pa.binary(16))


def written(feature: Feature, ids, values, errors=None) -> None:
    ids = np.array(ids)
    array, found = column(values, len(ids))
    feature.write(ids, shas(ids), array, errors or found)


@pytest.fixture
def feature(tmp_path):
    return Feature(str(tmp_path / "feature"))


def test_writing_the_same_ids_again_overwrites(feature):
    written(feature, [1, 2], np.ones(2))
    written(feature, [1, 2], np.ones(2))
    written(feature, [3], np.ones(1))
    assert len(feature.parts()) == 2
    assert feature.states(5).tolist() == [MISSING, VALUE, VALUE, VALUE, MISSING]


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_vectors_are_lists_of_fixed_size_that_others_read(feature, dtype):
    duckdb = pytest.importorskip("duckdb")
    faiss = pytest.importorskip("faiss")
    pandas = pytest.importorskip("pandas")
    vectors = np.arange(12, dtype=dtype).reshape(3, 4)
    written(feature, [7, 3, 5], vectors)
    (path,) = feature.parts()
    assert pq.read_schema(path).field("value").type == pa.list_(pa.from_numpy_dtype(dtype), 4)
    assert np.array_equal(feature.values(np.array([3, 5, 7])), vectors[[1, 2, 0]])
    assert np.array_equal(np.stack(pandas.read_parquet(path)["value"]), vectors)
    rows = duckdb.sql(f"select id, value from '{path}' order by id").fetchall()
    assert [row[0] for row in rows] == [3, 5, 7]
    assert np.array_equal(np.array([row[1] for row in rows]), vectors[[1, 2, 0]])
    index = faiss.IndexFlatL2(4)
    index.add(feature.values(np.array([3, 5, 7])).astype(np.float32))
    assert index.ntotal == 3


def test_a_later_value_replaces_an_error_and_not_the_other_way_round(feature):
    written(feature, [1, 2], [RowError("down"), 4.0])
    written(feature, [1], [5.0])
    written(feature, [2, 9], [RowError("down"), RowError("down")])
    assert feature.states(10)[[1, 2, 9]].tolist() == [VALUE, VALUE, ERROR]
    assert feature.values(np.array([2, 1])).tolist() == [4.0, 5.0]


def test_values_come_in_the_order_of_the_ids_asked_for(feature):
    written(feature, range(0, 50), np.arange(50.0))
    written(feature, range(50, 80), np.arange(50.0, 80.0))
    ids = np.random.default_rng(0).permutation(80)[:40]
    assert feature.values(ids).tolist() == ids.tolist()


def test_values_of_strings_and_structs(feature):
    written(feature, [0, 1], ["北京", ""])
    assert feature.values(np.array([1, 0])).tolist() == ["", "北京"]


def test_take_over_copies_by_content_under_the_new_ids(feature, tmp_path):
    written(feature, [10, 11, 12], [1.0, RowError("down"), 3.0])
    new = Feature(str(tmp_path / "new"))
    missing = pa.table({"id": [0, 1, 2], "sha": shas([12, 11, 99])})
    assert take_over(new, [feature], Lacking.of(missing)) == 1
    assert new.states(3).tolist() == [VALUE, MISSING, MISSING]
    assert new.values(np.array([0])).tolist() == [3.0]


def test_take_over_gives_a_value_to_every_sample_that_it_belongs_to(feature, tmp_path):
    written(feature, [10, 11], [1.0, 2.0])
    new = Feature(str(tmp_path / "new"))
    missing = pa.table({"id": [0, 1, 2, 3], "sha": shas([11, 10, 11, 99])})
    assert take_over(new, [feature], Lacking.of(missing)) == 3
    assert new.values(np.array([0, 1, 2])).tolist() == [2.0, 1.0, 2.0]


def test_what_an_earlier_version_of_a_judge_rated_is_taken_over_and_what_it_could_not_read_is_not(tmp_path):
    store, judge = Store(str(tmp_path)), Judge()
    old = Feature(f"{store.operator_folder(judge, 2)}/0123")
    score = {"digit_mass": None, "cut": False, "control_tokens": False}
    rated = [{"score": 4.5, "outcome": "", "reply": "4.5", **score}]
    unread = [{"score": None, "outcome": "prose", "reply": "4.5 stars", **score}]
    ids = np.arange(3)
    old.write(ids, shas(ids), pa.array([*rated, *unread, *rated], judge.gives), [None] * 3)
    assert [each.folder.removeprefix("file://") for each in store.known_earlier(judge)] == [old.folder]
    assert store.known(judge) == []
    assert store.known_earlier(Judge(dimension="helpfulness")) == []
    missing = pa.table({"id": ids, "sha": shas(ids)})
    new = store.feature(judge, "0123")
    assert take_over(new, store.known_earlier(judge), Lacking.of(missing), judge.still_valid) == 2
    assert new.states(3).tolist() == [VALUE, MISSING, VALUE]
    assert Judge(form="alpagasus").still_valid(pa.array(unread, judge.gives)).all()


def test_store_refuses_a_folder_that_describes_another_operator(tmp_path):
    store = Store(str(tmp_path))
    store.declare(Hashed())
    store.declare(Hashed())
    spec = next(tmp_path.glob("features/Hashed-*/spec.json"))
    spec.write_text(spec.read_text().replace("8", "9"))
    with pytest.raises(WinnowError, match=r"spec.json describes another operator than Hashed"):
        store.declare(Hashed())


def test_column_gives_an_error_for_what_is_not_a_number():
    values, errors = column(np.array([[1.0, 2.0], [np.nan, 1.0]], np.float32), 2)
    assert values.is_valid().to_pylist() == [True, False]
    assert errors == [None, "nonfinite: the value is NaN or infinite"]
    values, errors = column([np.ones(2, np.float32), RowError("empty_text"), np.full(2, np.inf, np.float32)], 3)
    assert [error is None for error in errors] == [True, False, False]


def test_an_error_that_no_text_can_hold_is_stored_with_a_question_mark(feature):
    written(feature, [1, 2], [RowError("refused", "no \ud83d"), 2.0])
    assert list(feature.errors()) == [(1, "refused: no ?")]

    def compute(batch):
        raise ValueError("no \ud83d")

    assert computed(compute, pa.table({"id": [3]}))[1] == ["ValueError: no ?"]


@pytest.mark.parametrize(("values", "message"), [([1.0], "1 values for 2"), ([1.0, None], "gets a RowError")])
def test_column_refuses_what_would_lose_a_row(values, message):
    with pytest.raises(TypeError, match=message):
        column(values, 2)


def test_computed_halves_a_batch_until_the_row_that_fails_is_alone():
    sizes = []

    def compute(batch):
        sizes.append(batch.num_rows)
        if 5 in batch["id"].to_pylist():
            raise ValueError("not five")
        return [float(each) for each in batch["id"].to_pylist()]

    values, errors = computed(compute, pa.table({"id": list(range(8))}))
    assert [error for error in errors if error] == ["ValueError: not five"]
    assert errors[5] is not None
    assert sum(len(piece) for piece in values) == 8
    assert len(sizes) <= 1 + 2 * 3
