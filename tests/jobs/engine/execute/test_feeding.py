"""Tasks of many batches: what a worker reads, where it goes on after a death, and how many tasks a map has."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import ray

from jobs.engine.execute import map_worker, stream, workers
from jobs.engine.execute.feeding import FedWorker, Feed, Journal, Sum
from jobs.engine.execute.map_worker import Attempts
from jobs.engine.execute.profile import Execution
from jobs.engine.execute.workers import Workers
from jobs.engine.samples.runs import Runs
from jobs.engine.terminal.errors import WinnowError
from tests.full_disk import files_up_to
from tests.jobs.engine.execute.test_map import executed
from tests.standins import Accelerated, Clears, Counts, Touchy


def test_runs_are_the_ids_that_they_were_made_of():
    random = np.random.default_rng(0)
    for size in random.integers(1, 60, 60):
        ids = np.sort(random.choice(80, size, replace=False))
        runs = Runs.of(ids)
        assert runs.ids().tolist() == ids.tolist()
        some = np.sort(random.choice(size, size // 2, replace=False))
        assert runs.at(some).tolist() == ids[some].tolist()
        assert runs.without(ids[some]).ids().tolist() == np.delete(ids, some).tolist()
        assert runs.after(size // 2).ids().tolist() == ids[size // 2 :].tolist()
        pieces = [piece.ids().tolist() for piece in runs.pieces(7)]
        assert pieces == [ids[at : at + 7].tolist() for at in range(0, size, 7)]
    assert len(Runs.of(np.arange(10**6)).first) == 1


@pytest.fixture
def fed(make_pool, session, tmp_path, monkeypatch):
    """Builds the workers of one map over 40 samples in parts of 15, which has batches of 8."""
    monkeypatch.setattr(ray, "get_gpu_ids", lambda: ["0"])
    (tmp_path / "attempts").mkdir()

    def worker(operator, texts, seconds=100.0):
        pool = make_pool(texts, rows=15)
        feature = session.store.feature(operator, pool.origin.identity("conversation"))
        feed = Feed(pool.parts, ["id", "text_sha", *operator.columns()], 8, seconds)
        return lambda: FedWorker(operator, feature, Attempts(str(tmp_path / "attempts")), feed), feature

    return worker


def as_task(ids):
    runs = Runs.of(np.array(ids))
    return pa.table({"first": [runs.first], "end": [runs.end]})


def test_a_task_of_many_batches_has_a_part_for_each_and_one_summary(fed):
    worker, feature = fed(Touchy(), ["refuse" if at == 20 else f"word{at}" for at in range(40)])
    (summary,) = worker()(as_task([*range(3, 30), 33, 39])).to_pylist()
    assert summary == {"first": 3, "rows": 29, "failed": 1, "example": "refused: it said refuse"}
    assert sorted(len(table) for table in feature.tables("id")) == [5, 8, 8, 8]
    assert feature.values(np.array([39, 3])).tolist() == [6.0, 5.0]


def test_a_task_that_takes_long_returns_after_a_batch_and_goes_on_where_it_was(fed, tmp_path):
    operator = Counts(file=str(tmp_path / "counted"))
    worker, _ = fed(operator, [f"word{at}" for at in range(40)], seconds=0.0)
    for done in (8, 16, 24):
        assert worker()(as_task(range(24)))["rows"].to_pylist() == [done]
    assert sorted(map(int, (tmp_path / "counted").read_text().split())) == list(range(24))
    assert worker()(as_task(range(24)))["rows"].to_pylist() == [24]


@pytest.mark.fault(
    "a worker is killed in the middle of a batch",
    how="the worker ends within a task of several batches",
    holds="finished batches stay, the next worker goes on after them",
)
def test_a_worker_that_ended_in_the_middle_of_a_task_left_its_finished_batches(fed, monkeypatch):
    class Ended(BaseException):
        pass

    def end():
        raise Ended

    monkeypatch.setattr(map_worker, "end_process", end)
    worker, feature = fed(Accelerated(), ["break" if at == 13 else f"word{at}" for at in range(40)])
    summary = None
    while summary is None:
        try:
            summary = worker()(as_task(range(40)))
        except Ended:
            assert set(range(8)) <= set(feature.ids().tolist())
    assert summary["rows"].to_pylist() == [40]
    assert summary["failed"].to_pylist() == [1]
    assert sorted(feature.ids()) == list(range(40))


def test_a_note_that_was_cut_off_leaves_the_earlier_one(tmp_path):
    journal, ids = Journal(str(tmp_path)), Runs.of(np.arange(24))
    journal.write(ids, Sum(1, 8, 0, None))
    with files_up_to(10), pytest.raises(OSError, match="File too large"):
        journal.write(ids, Sum(2, 16, 0, None))
    assert journal.read(ids) == Sum(1, 8, 0, None)


def test_the_number_of_tasks_depends_on_the_workers_and_not_on_the_pool(monkeypatch):
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 2}}])
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    two = Workers.of(Execution(cpus=0.9), Touchy())
    for samples in (10**6, 10**7, 10**8):
        tasks = samples / 512 / two.batches(samples, 512, 112.0, None)
        assert 128 <= tasks < 150
    assert two.batches(60_000, 512, 112.0, None) == 1
    assert two.batches(10**8, 512, 112.0, pace=5.0) == 1
    assert two.batches(10**8, 512, 112.0, pace=1024.0) == 112


def test_only_all_samples_are_drawn_from_and_not_what_slow_tasks_left(session, monkeypatch):
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 2}}])
    ids = Runs.of(np.arange(9000))
    for given, drawn in ((ids, 512), (ids.after(6000), 0)):
        dealt = stream._Dealt(given, 9000, None, Touchy(), Execution(), session)
        assert sum(len(dealt.tasks[first]) for first in dealt.drawn) == drawn
        assert sum(map(len, dealt.tasks.values())) == len(given)


@pytest.mark.usefixtures("ray_session")
@pytest.mark.fault(
    "some tasks are much slower than others",
    how="every task returns early, as one that takes too long does",
    holds="the rest is dealt again; each sample is computed once",
)
def test_a_map_deals_again_what_slow_tasks_did_not_come_to(make_pool, session, tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "TASKS", 1)
    monkeypatch.setattr(stream, "TASK_SHARE", 0.0)
    operator = Counts(file=str(tmp_path / "counted"))
    pool = make_pool([f"word{at}" for at in range(48)]).map(count=operator)
    assert pool.ids.tolist() == list(range(48))
    assert sorted(map(int, (tmp_path / "counted").read_text().split())) == list(range(48))


@pytest.mark.usefixtures("ray_session")
@pytest.mark.fault(
    "stored parts disappear",
    how="part files are deleted while the map runs",
    holds="the map fails and says how many samples have neither a value nor an error",
)
def test_a_map_whose_parts_disappear_says_so_and_how_many_samples_are_missing(make_pool, session):
    pool = make_pool([f"word{at}" for at in range(40)])
    one = executed(session, rows=16, workers=1)
    folder = f"{session.store.url}/features"
    with pytest.raises(WinnowError, match=r"gone: 32 of 40 samples have neither .* first is sample 0\..*" + folder):
        replace(pool, session=one).map(gone=Clears(folder=folder))
