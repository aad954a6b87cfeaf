"""Subsets and rankings: set arithmetic, decisions, columns, and kernels that are spoken to in ids."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest

from jobs.engine.execute.profile import Profile
from jobs.engine.execute.rows import Stored, row_bytes
from jobs.engine.pool.column import Column, joined
from jobs.engine.pool.kernels import in_positions, translated
from jobs.engine.store.feature import Feature
from operators.kernels.rows import ROW, Position, Positions

IDS = np.array([2, 3, 5, 7, 11])
SCORES = np.array([0.5, 2.0, np.nan, 2.0, -1.0])


@pytest.fixture
def some(make_pool):
    """Five of twelve samples, with a score, which one of them lacks."""
    return make_pool([f"word{i}" for i in range(12)])[IDS].bind(score=SCORES, name=np.array(list("abcde"), object))


def ids(subset):
    return subset.order.tolist()


def test_set_arithmetic_is_by_id_and_a_part_of_a_pool_knows_its_columns(some):
    low, high = some[np.array([2, 3, 5])], some[np.array([5, 7])]
    assert ids(low | high) == [2, 3, 5, 7]
    assert ids(low & high) == [5]
    assert ids(low - high) == [2, 3]
    assert ids(some[some.values("name") == "d"]) == [7]
    assert (low | high).having("score").values("score").tolist() == [0.5, 2.0, 2.0]
    assert len(low[:0]) == 0


@pytest.mark.fault(
    "a value is NaN or infinite",
    how="NaN and infinity in a column of scores",
    holds="such samples have no value",
)
def test_a_number_that_is_not_finite_is_no_value(some):
    assert ids(some.having("score")) == [2, 3, 7, 11]
    with pytest.raises(KeyError, match="no value for id 5"):
        some.values("score")


@pytest.mark.fault("scores are equal", how="equal values", holds="the lower id comes first")
def test_ranks_are_by_value_and_then_by_id_and_every_part_of_a_ranking_keeps_its_order(some):
    ranking = some.having("score").ranked("score")
    assert ids(ranking) == [3, 7, 2, 11]
    assert ids(some.having("score").ranked_lowest("score")) == [11, 2, 3, 7]
    assert ids(ranking[:2]) == [3, 7]
    assert ids(ranking - ranking[1:2]) == [3, 2, 11]
    assert ids(ranking & some[np.array([2, 3])]) == [3, 2]
    assert ranking.values("score").tolist() == [2.0, 2.0, 0.5, -1.0]
    assert ids(ranking[1:3] + ranking) == [7, 2, 3, 11]
    assert ids(ranking.bind(place=np.arange(4)) - ranking[:1]) == [7, 2, 11]
    assert ranking.bind(place=np.arange(4)).column("place").values.tolist() == [2, 0, 1, 3]
    assert sorted(ids(some.shuffled(3))) == IDS.tolist()
    assert ids(some.shuffled(3)) == ids(some.shuffled(3)) != ids(some.shuffled(4))


def test_the_first_of_a_ranking_are_found_without_its_whole_order(some):
    scored = some.having("score")
    for ranking, first in ((scored.ranked("score"), [3, 7]), (scored.ranked_lowest("score"), [11, 2])):
        assert ids(ranking[:2]) == first
        assert not ranking.held
        assert ids(ranking[:9]) == ids(ranking)
        assert ids(ranking[:-1]) == ids(ranking)[:-1]
    assert ids(some.shuffled(3)[:2]) == ids(some.shuffled(3))[:2]
    assert ids(scored.ranked("score").bind(score=np.arange(4))) == [3, 7, 2, 11]  # as when it was ranked
    assert ids(scored.ranked("score").above("score", 0.5)) == [3, 7]


@pytest.mark.usefixtures("ray_session")
def test_ranks_and_thresholds_of_stored_values_are_the_same_over_shards(some, tmp_path):
    scores, feature = np.array([0.5, 2.0, 2.0, -1.0]), Feature(str(tmp_path / "scores"))
    having = np.array([2, 3, 7, 11])
    feature.write(having, pa.nulls(4, pa.binary(16)), pa.array(scores), [None] * 4)
    half = 2 * row_bytes(Stored(feature, "", having))
    session = replace(some.session, profile=Profile(reduce_bytes=int(half) + 1))
    asked = replace(some, ids=having, session=session, columns={"score": Column(having, feature)})
    assert ids(asked.ranked("score")[:3]) == [3, 7, 2]
    assert ids(asked.above("score", share=0.25)) == [3, 7]
    assert not asked.columns["score"].read  # the driver has not seen a value
    found = [(entry.get("reduce") or entry["decide"], entry.get("shards")) for entry in session.log]
    assert found == [("highest", 2), ("threshold_above", 2), ("are_above", None), ("score above", None)]


def test_decisions_are_strict_or_not_as_they_say_and_are_recorded(some):
    scored = some.having("score")
    assert ids(scored.above("score", 0.5)) == [3, 7]
    assert ids(scored.at_least("score", 0.5)) == [2, 3, 7]
    assert ids(scored.below("score", 0.5)) == [11]
    assert ids(scored.above("score", share=0.25)) == [3, 7]
    assert ids(scored.below("score", share=0.5)) == [2, 11]
    assert ids(scored.at_least("score", share=0.7)) == [2, 3, 7]
    decided = [(entry["decide"], entry["threshold"], entry["passed"]) for entry in some.session.log]
    assert decided[:3] == [("score above", 0.5, 2), ("score at least", 0.5, 3), ("score below", 0.5, 1)]


def test_columns_of_two_parts_are_one_column_and_the_first_speaks_for_both():
    first = {"a": Column(np.array([1, 4]), read={"": np.array([10, 40])})}
    second = {"a": Column(np.array([2, 4]), read={"": np.array([20, 41])}), "b": Column(np.array([9]))}
    columns = joined(first, second)
    assert set(columns) == {"a", "b"}
    assert columns["a"].values(np.array([4, 2, 1]), "").tolist() == [40, 20, 10]


class Found(NamedTuple):
    """What a kernel finds."""

    best: Position
    chosen: Positions
    distances: np.ndarray


def kernel(values: np.ndarray, first: Position | None = None, warm: Positions = (), k: int = 1) -> Found:
    """The first, the warm ones, and the numbers that it was given."""
    return Found(int(first or 0), np.asarray(warm, int), values)


def pair(values: np.ndarray) -> tuple[Positions, Positions]:
    """The odd and the even rows."""
    rows = np.arange(len(values))
    return rows[1::2], rows[::2]


def test_kernels_are_given_positions_and_give_ids(some):
    params = in_positions(kernel, {"first": 11, "warm": np.array([7, 2]), "k": 7}, IDS)
    assert (params["first"], params["warm"].tolist(), params["k"]) == (4, [3, 0], 7)
    shown = translated(kernel, kernel(SCORES, **params), lambda value, kind: (kind, IDS[value]))
    assert shown.best == (ROW, 11)
    assert shown.chosen[1].tolist() == [7, 2]
    assert shown.distances is SCORES
    with pytest.raises(ValueError, match="not among its rows"):
        in_positions(kernel, {"first": 4}, IDS)


@pytest.mark.usefixtures("ray_session")
def test_a_reduce_speaks_of_samples_in_the_order_of_its_rows(some):
    scored = some.having("score")
    found = scored.reduce(kernel, "score", first=11, warm=np.array([7, 2]))
    assert found.best == 11
    assert ids(found.chosen) == [7, 2]
    ranked = scored.ranked("score")
    odd, even = ranked.reduce(pair, "score")
    assert (ids(odd), ids(even)) == ([7, 11], [3, 2])
    assert ranked.reduce(kernel, "score").distances.tolist() == [2.0, 2.0, 0.5, -1.0]


def test_a_selection_gives_every_sample_a_reason_and_the_facts_that_all_methods_share(make_pool):
    pool = make_pool([f"{'long ' * i}word" for i in range(6)])
    scored = pool[np.arange(1, 6)].bind(score=np.arange(5.0))
    kept = scored.above("score", 2.0).ranked("score")
    chosen = pool.selection(kept, score="score", because={"too low": scored, "kept": kept}, facts={"own": 1})
    assert [chosen.reasons[each] for each in chosen.reason] == ["not scored", *["too low"] * 3, *["kept"] * 2]
    assert chosen.ids.tolist() == [5, 4]
    np.testing.assert_equal(chosen.score[:], [np.nan, 0, 1, 2, 3, 4])
    assert (chosen.facts["not scored"], chosen.facts["score above"], chosen.facts["own"]) == (1, 2.0, 1)
    assert "rank correlation with response length" in chosen.facts
    with pytest.raises(ValueError, match="contains a sample twice"):
        pool.selection(pool.ranking(np.array([1, 1])), because={})
