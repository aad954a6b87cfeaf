"""Reduces over shards on actors: the result of one process, also where a worker dies."""

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import ray
from ray.exceptions import NodeDiedError

from jobs.engine.execute import reduce_worker, reducing
from jobs.engine.execute.profile import Profile
from jobs.engine.execute.reducing import reduced
from jobs.engine.execute.rows import Stored, count, read, row_bytes
from jobs.engine.execute.spread import Spread, spread
from jobs.engine.store.feature import Feature
from jobs.engine.terminal.errors import WinnowError
from operators.kernels import round_robin
from operators.kernels.influence import projected_influences
from operators.kernels.k_center import cover, k_center
from operators.kernels.kmeans import kmeans
from operators.kernels.round_robin import chosen_in_turn
from operators.kernels.row_variance import row_variance
from operators.kernels.shard import Shard
from operators.kernels.sharding import sharded

N, WIDTH = 600, 8


@pytest.fixture
def vectors():
    """Embeddings with duplicates."""
    found = np.random.default_rng(0).normal(size=(N, WIDTH)).astype(np.float16)
    found[::7] = found[1]
    return found


@pytest.fixture
def stored(tmp_path, vectors):
    """The embeddings in a store, in three parts, and in another order than they are asked for in."""
    feature = Feature(str(tmp_path / "embed"))
    for ids in np.split(np.random.default_rng(1).permutation(N), [100, 350]):
        values = pa.FixedSizeListArray.from_arrays(pa.array(vectors[ids].reshape(-1)), WIDTH)
        feature.write(ids, pa.array(["sha"] * len(ids)), values, [None] * len(ids))
    return Stored(feature, "", np.arange(N))


def over(session, **fields):
    return replace(session, profile=Profile(**fields))


class Mortal(Shard):
    """A shard whose process is killed when it is asked for candidates, unless one was killed before."""

    def dig(self, grave):
        self.grave = Path(grave)

    def flush(self, centers, taken, count):
        if self.offset and not self.grave.exists():
            self.grave.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return super().flush(centers, taken, count)


def mortal_cover(ask, k, *, grave, warm, tell):
    ask("dig", grave)
    return cover(ask, k, warm=warm, tell=tell)


@sharded(Mortal, mortal_cover)
def mortal_k_center(points, k, *, grave):
    raise AssertionError("it is to run over shards")


def deadly(points):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.usefixtures("ray_session")
def test_a_reduce_over_shards_finds_what_one_process_finds(stored, vectors, session, capsys):
    sharded_session = over(session, reduce_bytes=int(300 * row_bytes(stored)))
    groups = reduced(kmeans, {"embed": stored}, N, {"k": 9, "seed": 3}, sharded_session)
    here = kmeans(vectors, 9, seed=3)
    assert (groups.labels.tolist(), groups.inertia) == (here.labels.tolist(), here.inertia)
    assert groups.centroids.tobytes() == here.centroids.tobytes()
    assert "kmeans: 600 samples of embed over 2 shards" in capsys.readouterr().out
    entry = sharded_session.log[-1]
    assert (entry["shards"], entry["rounds"] > here.iterations) == (2, True)
    assert entry["bytes"] > 2 * here.centroids.nbytes


@pytest.mark.usefixtures("ray_session")
@pytest.mark.fault(
    "a value is NaN or infinite",
    how="an infinite number in a vector of the last shard",
    holds="the error names the row, as in one process",
)
def test_a_row_that_no_shard_can_hold_is_named_as_in_one_process(vectors, session):
    vectors[555, 2] = np.inf
    with pytest.raises(WinnowError, match=r"k_center of embed: points: row 555 holds a NaN"):
        reduced(k_center, {"embed": vectors}, N, {"k": 3}, over(session, reduce_bytes=vectors.nbytes // 2))


@pytest.mark.usefixtures("ray_session")
@pytest.mark.fault(
    "a shard of a reduce is killed",
    how="SIGKILL of a shard's actor in a round of k-center",
    holds="the reduce starts again from the store; the picks, distances and radius are the same",
)
def test_a_shard_killed_within_a_reduce_changes_no_pick(stored, vectors, session, tmp_path, capsys):
    grave = tmp_path / "grave"
    params = {"k": 200, "grave": str(grave), "warm": np.array([5, 500])}
    found = reduced(
        mortal_k_center, {"embed": stored}, N, params, over(session, reduce_bytes=int(300 * row_bytes(stored)))
    )
    assert grave.exists()
    expected = k_center(vectors, 200, warm=np.array([5, 500]))
    assert (found.picks.tolist(), found.distances.tolist()) == (expected.picks.tolist(), expected.distances.tolist())
    assert found.radius == expected.radius
    assert "a worker died" in (said := capsys.readouterr().out)
    assert "starting again from the store, 1 of 3 times" in said


@pytest.mark.usefixtures("ray_session")
@pytest.mark.fault(
    "a shard of a reduce is killed",
    how="SIGKILL of every process that runs the kernel",
    holds="the reduce gives up and says in one line how often it was started",
)
def test_a_reduce_whose_workers_always_die_fails_in_one_line(vectors, session, monkeypatch):
    monkeypatch.setattr(reducing, "AGAIN", 1)
    with pytest.raises(WinnowError, match=r"^deadly of embed: .*; it was started 2 times. The full traceback is in"):
        reduced(deadly, {"embed": vectors}, N, {}, session)


def nodes(count, gpus=0):
    """So many nodes with 8 CPUs and 1 MB of memory each, a head without CPUs, and a dead node, as Ray lists them."""
    node = {"Alive": True, "Resources": {"CPU": 8.0, "memory": 1e6, "GPU": float(gpus)}}
    return [node] * count + [
        {"Alive": True, "Resources": {"memory": 1e3}},
        {"Alive": False, "Resources": {"CPU": 99.0}},
    ]


@pytest.mark.parametrize(
    ("cluster", "kernel", "fields", "expected"),
    [
        (nodes(3), k_center, {}, Spread(threads=8)),  # 9.6 kB are less than a quarter of 1 MB
        (nodes(3), deadly, {"reduce_bytes": 1}, Spread(threads=8)),  # without shards there is one process
        (nodes(1), k_center, {"reduce_bytes": 2400}, Spread(4, 2, 1.0, 0, 2400, 1)),
        (nodes(3), k_center, {"reduce_bytes": 9000}, Spread(3, 8, 1.0, 0, 3200, 3)),  # all nodes work
        (nodes(1), k_center, {"reduce_bytes": 600}, Spread(16, 1, 0.5, 0, 600, 1)),
        (nodes(2, 4), k_center, {"reduce_bytes": 600, "reduce_gpus": 1}, Spread(8, 2, 1.0, 1, 1200, 2)),
        (nodes(2, 3), k_center, {"reduce_bytes": 600, "reduce_gpus": 2}, Spread(2, 8, 1.0, 2, 4800, 2)),
        (nodes(1, 1), k_center, {"reduce_bytes": 600, "reduce_gpus": 1}, Spread(threads=8, gpus=1)),
        (nodes(1), projected_influences, {"reduce_bytes": 2400}, Spread(threads=8, at_once=150)),
        (nodes(3), projected_influences, {"reduce_bytes": 2400}, Spread(3, 8, 1.0, 0, 2400, 3, 150)),  # row by row
        (nodes(3), chosen_in_turn, {"reduce_bytes": 2400}, Spread(3, 8, 1.0, 0, 2400, 3, 150)),
        (nodes(2, 4), row_variance, {"reduce_bytes": 600, "reduce_gpus": 1}, Spread(threads=8)),  # one block of rows
    ],
)
def test_a_reduce_has_as_many_shards_as_its_columns_nodes_and_gpus_ask_for(
    cluster, kernel, fields, expected, vectors, monkeypatch
):
    monkeypatch.setattr(ray, "nodes", lambda: cluster)
    assert spread(kernel, {"embed": vectors}, N, Profile(**fields)) == expected


def test_rows_that_are_computed_by_themselves_are_read_some_after_others(stored, vectors, monkeypatch):
    params = {"targets": [vectors[:3]] * 2, "subtasks": np.array([0, 1, 1]), "learning_rates": [2.0, 1.0]}
    request = reduce_worker.Request(projected_influences, [stored, vectors], N, params, Spread(at_once=70))
    sizes = []
    monkeypatch.setattr(reduce_worker, "read", lambda rows: sizes.append(count(rows)) or read(rows))
    found = reduce_worker._alone(request, reduce_worker.Progress()).result
    assert sizes == [70] * 16 + [40] * 2
    expected = projected_influences(vectors, vectors, **params)
    assert found.scores == pytest.approx(expected.scores)
    assert found.subtasks.tolist() == expected.subtasks.tolist()


def test_shards_that_drop_their_rows_when_they_are_asked_read_some_after_others(stored, vectors, monkeypatch):
    params = {"targets": vectors[:3], "subtasks": np.array([0, 1, 1]), "count": 50}
    expected = chosen_in_turn(vectors, **params)
    monkeypatch.setattr(round_robin, "LEAST", 8)
    monkeypatch.setattr(round_robin, "MOST", 8)
    request = reduce_worker.Request(chosen_in_turn, [stored], N, params, Spread(at_once=70))
    sizes = []
    monkeypatch.setattr(reduce_worker, "read", lambda rows: sizes.append(count(rows)) or read(rows))
    found = reduce_worker._alone(request, reduce_worker.Progress())
    assert sizes == [70] * (N // 70) + [N % 70]
    assert found.rounds > 2
    assert vars(found.result).keys() == vars(expected).keys()
    assert all(np.array_equal(vars(found.result)[name], vars(expected)[name]) for name in vars(expected))


class Unplaced:
    """The handle of an actor that no node has room for."""

    class ready:
        remote = object


def test_shards_without_room_are_dealt_anew_where_a_node_died_and_are_given_up_otherwise(vectors, monkeypatch):
    monkeypatch.setattr(ray, "wait", lambda waiting, **_: ([], waiting))
    monkeypatch.setattr(ray, "get", list)
    monkeypatch.setattr(ray, "nodes", lambda: nodes(1))
    asked = reduce_worker.Request(k_center, [vectors], N, {}, Spread(2, nodes=2), patience=0.0)
    with pytest.raises(NodeDiedError):
        reduce_worker._wait_for_room([Unplaced, Unplaced], asked)
    asked = asked._replace(spread=Spread(2, nodes=1, memory=5_000_000))
    with pytest.raises(WinnowError, match=r"no room for 2 workers with 5\.0 MB of memory each for 0 s"):
        reduce_worker._wait_for_room([Unplaced, Unplaced], asked)


def test_values_that_are_objects_count_as_they_are_in_memory(tmp_path):
    feature = Feature(str(tmp_path / "scores"))
    ids = np.arange(100)
    feature.write(ids[:0], pa.nulls(0, pa.string()), pa.nulls(0), [])  # a part without values says nothing
    values = pa.array([{"score": 0.5, "name": "abc"}] * 100)
    feature.write(ids, pa.nulls(100, pa.string()), values, [None] * 100)
    numbers, whole = row_bytes(Stored(feature, "score", ids)), row_bytes(Stored(feature, "", ids))
    assert 8 <= numbers < 12
    assert whole > 16 * 11


def slow(ask, tell):
    tell("round 1", 0.5)
    time.sleep(0.2)
    return ask("extent")


@sharded(Shard, slow)
def slow_kernel(points):
    raise AssertionError("its driver is to run")


def test_a_line_says_how_far_a_reduce_is_until_it_ends(vectors, monkeypatch):
    monkeypatch.setattr(ray, "get_gpu_ids", list)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(reduce_worker, "EVERY", 0.05)
    *lines, found = reduce_worker.reduce_here(reduce_worker.Request(slow_kernel, [vectors], N, {}, Spread()))
    assert next(line for line in lines if line).startswith("round 1, about")
    assert (found.result[0][0], found.rounds) == (N, 1)


def test_progress_is_what_the_kernel_told_and_the_seconds_left(monkeypatch):
    progress = reduce_worker.Progress()
    assert progress.line() == ""
    progress("round 3, 250 of 1,000 picks", 0.25)
    monkeypatch.setattr(reduce_worker.time, "monotonic", lambda: progress.began + 20)
    assert progress.line() == "round 3, 250 of 1,000 picks, about 60 s left"
