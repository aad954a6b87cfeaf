"""Pool.map with real Ray and real kills."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jobs.engine.execute.profile import Execution, Profile
from jobs.engine.execute.session import Session
from jobs.engine.pool.pool import Pool
from jobs.engine.terminal.errors import OverErrorBudget, WinnowError
from operators.field import Field
from tests.standins import Accelerated, Arrives, Hashed, KilledLoading, Slow, Stuck, Touchy, Unloadable

pytestmark = pytest.mark.usefixtures("ray_session")


def executed(session: Session, **execution) -> Session:
    """The session with another execution and error budget."""
    budget = execution.pop("max_errors", session.max_errors)
    stall = execution.pop("stall_seconds", 900.0)
    return replace(session, profile=Profile(default=Execution(**execution), stall_seconds=stall), max_errors=budget)


def test_map_again_computes_nothing_and_a_grown_pool_only_what_is_new(make_pool, session):
    texts = [f"word{i}" for i in range(100)]
    pool = make_pool(texts).map(vector=Hashed())
    first = pool.values("vector")
    again = make_pool(texts).map(vector=Hashed())
    grown = make_pool([*texts, *[f"new{i}" for i in range(30)]]).map(vector=Hashed())
    assert [entry["computed"] for entry in session.log] == [100, 0, 30]
    assert [entry["taken_over"] for entry in session.log] == [0, 0, 100]
    assert np.array_equal(first, again.values("vector"))
    assert np.array_equal(first, grown[np.arange(100)].values("vector"))


def test_map_values_do_not_depend_on_batches_workers_or_parts(make_pool, session, tmp_path):
    texts = [f"word{i}" for i in range(60)]
    seen = []
    for rows, workers, part in ((7, 1, 60), (256, 3, 9)):
        pool = make_pool(texts, rows=part)
        store = replace(session.store, url=str(tmp_path / f"store{rows}"))
        pool = replace(pool, session=replace(executed(session, rows=rows, workers=workers), store=store))
        seen.append(pool.map(vector=Hashed()).values("vector"))
    assert np.array_equal(*seen)


def test_map_only_computes_the_ids_asked_for(make_pool, session):
    pool = make_pool([f"word{i}" for i in range(50)])[np.array([40, 3, 7])].map(vector=Hashed())
    assert pool.ids.tolist() == [3, 7, 40]
    assert session.log[-1]["computed"] == 3
    with pytest.raises(KeyError, match="no value for id 4"):
        pool.columns["vector"].values(np.array([3, 4]), "")


@pytest.mark.fault(
    "a value is NaN or infinite",
    how="an operator that returns NaN, refuses, or raises",
    holds="an error of that sample; the others have values",
)
def test_map_rows_that_fail_are_errors_and_the_rest_has_values(make_pool, session):
    texts = [f"word{i}" for i in range(60)]
    texts[5], texts[20], texts[21] = "please raise", "refuse this", "nan"
    session = executed(session, rows=16, workers=2, max_errors=0.1)
    pool = replace(make_pool(texts), session=session).map(length=Touchy())
    errors = dict(pool.columns["length"].stored().errors())
    assert errors == {5: "ValueError: one of these I cannot do", 20: "refused: it said refuse",
                      21: "nonfinite: the value is NaN or infinite"}  # fmt: skip
    assert sorted({*range(60)} - set(pool.ids.tolist())) == [5, 20, 21]


@pytest.mark.fault(
    "one sample kills every worker that gets it",
    how="SIGKILL whenever the sample is in the batch",
    holds="after two deaths the sample alone has the error worker_death; the other 39 have values",
)
def test_map_a_sample_that_kills_its_worker_is_quarantined_alone(make_pool, session):
    texts = [f"word{i}" for i in range(40)]
    texts[13] = "kill"
    session = executed(session, rows=32, workers=1, max_errors=0.1)
    pool = replace(make_pool(texts), session=session).map(length=Touchy())
    assert dict(pool.columns["length"].stored().errors()) == {13: "worker_death: ended 2 workers"}
    assert len(pool.ids) == 39


@pytest.mark.fault(
    "a GPU fails",
    how="a stand-in raises CUDA's illegal memory access from one sample on",
    holds="the worker is replaced; only that sample has an error",
)
def test_map_a_worker_whose_device_fails_is_replaced_and_one_row_is_quarantined(make_pool, session):
    texts = [f"word{i}" for i in range(40)]
    texts[13] = "break"
    session = executed(session, rows=32, workers=1, max_errors=0.1)
    pool = replace(make_pool(texts), session=session).map(length=Accelerated())
    ((row, error),) = pool.columns["length"].stored().errors()
    assert (row, error.partition(":")[0]) == (13, "worker_death")
    assert "AcceleratorError: CUDA error: an illegal memory access" in error
    assert len(pool.ids) == 39


@pytest.mark.fault(
    "a GPU fails",
    how="a stand-in raises the error while it loads, once",
    holds="the worker is replaced, and the map goes on",
)
def test_map_goes_on_where_a_worker_lost_its_device_while_it_loaded(make_pool, session, tmp_path):
    loads = tmp_path / "loads"
    pool = make_pool([f"word{i}" for i in range(20)])
    pool = replace(pool, session=executed(session, rows=16, workers=1))
    assert len(pool.map(size=Accelerated(loads=str(loads), lost=1))) == 20
    assert loads.read_text() == "xx"


def test_map_ends_where_a_worker_is_killed_each_time_it_loads(make_pool, session, tmp_path):
    loads = tmp_path / "loads"
    pool = replace(make_pool(["a"]), session=executed(session, rows=16, workers=1, stall_seconds=60.0))
    with pytest.raises(WinnowError, match="size: KilledLoading could not be loaded: 5 processes of one worker ended"):
        pool.map(size=KilledLoading(loads=str(loads)))
    assert loads.read_text() == "xxxxx"


@pytest.mark.fault(
    "a worker is killed in the middle of a batch",
    how="the operator sends its own process SIGKILL in its first batch",
    holds="each sample has one value, no error; the worker is replaced",
)
def test_map_survives_a_worker_killed_once(make_pool, session, tmp_path):
    operator = Slow(kill_once=str(tmp_path / "killed"))
    pool = make_pool([f"word{i}" for i in range(64)]).map(one=operator)
    assert (tmp_path / "killed").exists()
    assert len(pool.ids) == 64
    assert session.log[-1]["failed"] == 0
    ids = np.concatenate([table["id"].to_numpy() for table in pool.columns["one"].stored().tables("id")])
    assert sorted(ids) == list(range(64))


def test_map_over_the_error_budget_fails_and_says_what_failed(make_pool, session):
    texts = ["refuse"] * 1 + [f"refuse {i}" if i % 3 == 0 else f"word{i}" for i in range(50)]
    with pytest.raises(
        OverErrorBudget, match=r"length: .* samples (failed|have an error).*refused: it said refuse.*--retry-errors"
    ):
        make_pool(texts).map(length=Touchy())


def test_a_long_map_tells_by_a_draw_from_all_samples_that_too_many_will_fail(make_pool, session):
    texts = [f"word{i}" for i in range(6000)] + [f"refuse {i}" for i in range(2000)]
    pool = make_pool(texts, rows=2000)
    # The whole draw in one batch, since the first batch that is sure ends the map; below it is two batches.
    with pytest.raises(OverErrorBudget, match=r"at random from 8,000 failed, and max_errors allows 80 of all samples"):
        replace(pool, session=executed(session, rows=512, workers=1)).map(length=Touchy())
    begun = session.store.feature(Touchy(), pool.origin.identity("conversation")).ids()
    assert 512 <= len(begun) < 6000
    whole = replace(pool, session=executed(session, rows=256, workers=1, max_errors=0.3)).map(length=Touchy())
    assert whole.ids.tolist() == list(range(6000))
    assert whole.values("length").tolist() == [len(text) for text in texts[:6000]]
    assert session.log[-1]["computed"] == 8000 - len(begun)


def test_a_map_whose_draw_keeps_to_the_budget_goes_on(make_pool, session):
    texts = [f"refuse {i}" if i % 110 == 0 else f"word{i}" for i in range(1100)]
    pool = make_pool(texts, rows=400).map(length=Touchy())
    assert len(pool.ids) == 1090


def test_a_map_may_fail_for_the_share_as_it_is_written_and_says_how_many_that_are(make_pool, session):
    texts = [f"refuse {i}" if i < 29 else f"word{i}" for i in range(100)]
    pool = make_pool(texts)
    assert len(replace(pool, session=executed(session, max_errors=0.29)).map(length=Touchy())) == 71
    with pytest.raises(OverErrorBudget, match=r"29 of 100 samples have an error, and max_errors allows 28\."):
        replace(pool, session=executed(session, max_errors=0.287)).map(length=Touchy())


def test_map_errors_are_retried_only_when_asked(make_pool, session):
    texts = [f"word{i}" for i in range(30)]
    texts[3] = "refuse"
    session = executed(session, rows=16, workers=1, max_errors=0.1)
    pool = replace(make_pool(texts), session=session)
    pool.map(length=Touchy())
    pool.map(length=Touchy())
    replace(pool, session=replace(session, retry_errors=True)).map(length=Touchy())
    assert [entry["computed"] for entry in session.log] == [30, 0, 1]


@pytest.mark.fault(
    "a worker cannot load its model",
    how="`load` raises OSError",
    holds="the map fails at once with the operator and the reason",
)
def test_map_an_operator_that_cannot_be_loaded_fails_with_its_reason(make_pool, session):
    pool = make_pool(["a", "b"])
    left = Path(
        session.store.feature(Unloadable(), pool.origin.identity("conversation")).folder
    )  # as a killed driver leaves it
    (left / "attempts-x").mkdir(parents=True)  # as a killed driver leaves it
    (left / "part-0.parquet.tmp").touch()
    with pytest.raises(WinnowError, match=r"^broken: Unloadable could not be loaded: OSError: the weights are corrupt"):
        pool.map(broken=Unloadable())
    assert not [name for name in os.listdir(left) if name.startswith("attempts-") or name.endswith(".tmp")]


@pytest.mark.fault(
    "an operator never returns",
    how="an operator that sleeps for an hour",
    holds="after `stall_seconds` the map fails and names the operator",
)
def test_map_that_stands_still_names_the_operator(make_pool, session):
    pool = make_pool(["a", "b"])
    with pytest.raises(WinnowError, match="the operator frozen is stuck"):
        replace(pool, session=executed(session, rows=16, workers=1, stall_seconds=5.0)).map(frozen=Stuck())


def test_two_operators_on_as_many_workers_as_cpus_do_not_wait_for_each_other(make_pool, session):
    session = executed(session, rows=8, workers=4)
    pool = replace(make_pool([f"word{i}" for i in range(64)]), session=session).map(vector=Hashed(), one=Slow())
    assert len(pool.ids) == 64


def test_reduce_runs_a_kernel_on_the_columns_of_the_chosen_ids(make_pool, session):
    pool = make_pool([f"word{i}" for i in range(40)]).map(vector=Hashed(), one=Slow(seconds=0.0))
    some = pool[np.array([4, 9, 30])]
    total = some.reduce(_weighted_sum, "vector", "one", factor=2.0)
    assert np.allclose(total, 2 * some.values("vector").sum(axis=0))


def _weighted_sum(vectors, weights, factor):
    return factor * (vectors * weights[:, None]).sum(axis=0)


@pytest.mark.fault(
    "a worker is killed in the middle of a batch",
    how="SIGKILL after 21 of 64 answers of a judge have arrived",
    holds="no answer is asked for twice",
)
def test_map_keeps_each_lot_as_it_arrives_and_asks_for_nothing_again(make_pool, session, tmp_path):
    counted = tmp_path / "asked"
    operator = Arrives(counted=str(counted), kill_after=21)
    pool = make_pool([f"word{i}" for i in range(64)])
    pool = replace(pool, session=executed(session, rows=32, workers=1)).map(rating=operator)
    assert len(pool.ids) == 64
    assert sorted(map(int, counted.read_text().split())) == list(range(64))
    assert np.array_equal(pool.values("rating.score"), np.arange(64) / 2)
    assert len(pool.columns["rating"].stored().parts()) < 30
    assert pool.values("rating.note")[3] == "WORD3"


def test_a_label_that_was_mended_is_read_anew_though_no_message_changed(session, tmp_path):
    file, found = tmp_path / "in.jsonl", []
    for label in ("wrong", "right"):
        rows = [{"instruction": f"word{at}", "output": "yes", "kind": f"{label}{at}"} for at in range(5)]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        pool = Pool.of([str(file)], session).map(kind=Field("kind"), vector=Hashed())
        found.append((pool.origin.facts["fingerprint"], pool.values("kind")[:2].tolist()))
    assert found[0][0] != found[1][0]
    assert [kinds for _, kinds in found] == [["wrong0", "wrong1"], ["right0", "right1"]]
    computed = [entry["computed"] for entry in session.log if "computed" in entry]
    assert computed == [5, 5, 5, 0]


def test_a_record_s_values_are_known_again_in_a_copy_and_read_anew_where_only_bookkeeping_was_mended(session, tmp_path):
    rows = [{"instruction": f"word{at}", "output": "yes", "source": "a", "kind": "k"} for at in range(4)]
    rows += [{**rows[0], "kind": "other"}, {**rows[0], "source": "b"}]
    spellings = {
        "one": [json.dumps(row) for row in rows],
        "copy": [json.dumps(row, indent=None, separators=(" ,", " : "), sort_keys=True) for row in rows],
        "mended": [json.dumps({**row, "source": "c"}) for row in rows],
        "longer": [json.dumps(row) for row in [{"instruction": "new", "output": "yes"}, *rows]],
    }
    found = {}
    for name, lines in spellings.items():
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
        pool = Pool.of([str(tmp_path / f"{name}.jsonl")], session).map(kind=Field("kind"), source=Field("source"))
        found[name] = [pool.values(column).tolist() for column in ("kind", "source")]
        assert pool.origin.facts["duplicates"] == 1
    assert found["one"] == found["copy"] == [["k"] * 4 + ["other"], ["a"] * 5]
    assert found["mended"] == [["k"] * 4 + ["other"], ["c"] * 5]
    assert found["longer"] == [["", *["k"] * 4, "other"], ["", *["a"] * 5]]
    computed = [entry["computed"] for entry in session.log if "computed" in entry]
    assert computed == [5, 5, 0, 0, 5, 5, 1, 1]


def test_samples_that_say_the_same_are_computed_once_and_share_the_outcome(session, tmp_path):
    said = ["word", "refuse", "other", "word", "refuse", "word"]
    rows = [{"instruction": text, "output": "yes", "rejected": str(at)} for at, text in enumerate(said)]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tolerant = executed(session, rows=2, workers=2, max_errors=0.5)
    whole = Pool.of([str(tmp_path / "in.jsonl")], tolerant)
    pool, hashed = whole.map(length=Touchy()), whole.map(vector=Hashed())
    assert whole.samples == 6
    assert pool.ids.tolist() == [0, 2, 3, 5]
    assert dict(pool.columns["length"].stored().errors()) == {
        1: "refused: it said refuse",
        4: "refused: it said refuse",
    }
    assert pool[np.array([0, 3, 5])].values("length").tolist() == [4, 4, 4]
    vectors = hashed.values("vector")
    assert np.array_equal(vectors[[0, 1]], vectors[[3, 4]])
    logged = [(entry["computed"], entry["failed"]) for entry in session.log if "computed" in entry]
    assert logged == [(3, 2), (3, 0)]
    again = replace(whole, session=replace(tolerant, retry_errors=True)).map(length=Touchy())
    assert session.log[-1]["computed"] == 1
    assert again.ids.tolist() == [0, 2, 3, 5]
    Pool.of([str(tmp_path / "in.jsonl")], session)[np.array([3])].map(length=Touchy())
    assert session.log[-1]["computed"] == 0
