"""How many workers a map has and how large their batches are, on clusters that are only told of."""

import json
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import ray

from jobs.engine.execute.model_memory import shared
from jobs.engine.execute.profile import Execution, Profile, profile
from jobs.engine.execute.stream import _Dealt
from jobs.engine.execute.workers import Workers
from jobs.engine.samples.runs import Runs
from operators.asking.judge import Judge
from operators.checkpoint import Checkpoint
from operators.embedding.embed import Embed
from tests.tiny import tiny_encoder

GPU = Execution(rows=4096, cpus=1, gpus=1)


@pytest.fixture
def cluster(monkeypatch):
    """Sets what the cluster has, and whether others started it, so that it may grow."""

    def has(gpus: int, cpus: int = 64, joined: bool = True, more: Sequence[dict] = ()) -> None:
        nodes = [{"CPU": cpus, "GPU": gpus}, *more]
        monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": each} for each in nodes])
        monkeypatch.delenv("RAY_ADDRESS", raising=False)
        if joined:
            monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")

    return has


def sizes(execution, batches, operator=None):
    pool = Workers.of(execution, operator or Embed()).pool(batches)
    return pool.min_size, pool.max_size


def test_a_pool_grows_on_a_cluster_that_shows_no_gpu_at_first(cluster):
    cluster(gpus=0)
    assert sizes(GPU, 100) == (1, 100)
    assert sizes(Execution(gpus=1, workers=8), 100) == (1, 8)
    assert sizes(Execution(gpus=4, workers=8), 3) == (1, 3)
    cluster(gpus=16)
    assert sizes(GPU, 100) == (16, 100)
    assert sizes(Execution(gpus=4, workers=8), 100) == (4, 8)
    assert sizes(GPU, 3) == (3, 3)
    assert sizes(GPU, 100, Judge(endpoint="http://server/v1")) == (1, 1)


def test_workers_have_room_on_single_nodes_and_not_on_what_is_left_of_several(cluster):
    head, small = {"CPU": 64.0}, {"CPU": 8.0, "GPU": 2.0}
    cluster(gpus=6, more=[head, small, small, small])
    assert sizes(Execution(gpus=4, cpus=1), 100) == (1, 100)  # twelve GPUs, and four of them on one node only
    assert sizes(GPU, 100) == (12, 100)
    cluster(gpus=8, cpus=4, more=[head])  # the CPUs of the head are no use to the GPUs
    assert sizes(GPU, 100) == (4, 100)
    cluster(gpus=8, more=[head | {"memory": 9e9}])
    assert sizes(replace(GPU, gpus=0, memory=4e9), 100) == (2, 100)
    cluster(gpus=1, cpus=512)
    assert all(sizes(replace(GPU, gpus=1 / share), 1000)[0] == share for share in range(1, 300))


def test_a_batch_for_a_server_is_one_that_it_answers_before_the_worker_seems_stuck(cluster):
    cluster(gpus=0)
    session: Any = SimpleNamespace(profile=replace(Profile(), stall_seconds=1600))
    asked = Judge(endpoint="http://server/v1", concurrency=32)
    for judge, rows in ((asked, 256), (replace(asked, requests_a_minute=9.0), 30), (Judge(), 4096)):
        dealt = _Dealt(Runs.of(np.arange(1000)), 1000, None, judge, Execution(rows=4096), session)
        assert dealt.rows == rows


def test_a_pool_on_this_machine_has_the_workers_that_it_has_room_for(cluster):
    cluster(gpus=0, cpus=2, joined=False)
    assert sizes(Execution(), 100) == (2, 2)
    assert sizes(Execution(workers=1), 100) == (1, 1)
    assert sizes(Execution(), 1) == (1, 1)
    assert sizes(Execution(cpus=0), 7) == (7, 7)


def test_workers_of_a_small_model_share_gpus_and_their_pool_grows_as_others_do(cluster, tmp_path):
    execution = profile("gpu").execution(Embed())
    assert (execution.gpus, execution.workers_per_gpu) == (1, 4)
    four = shared(execution, Embed())
    assert four == replace(execution, gpus=0.25)
    large = tiny_encoder(tmp_path) / "config.json"
    large.write_text(json.dumps(json.loads(large.read_text()) | {"hidden_size": 4096, "num_hidden_layers": 24}))
    for operator in (Embed(model=Checkpoint(str(tmp_path))), Embed(model=Checkpoint("someone/never-downloaded"))):
        assert shared(execution, operator) == execution
    assert shared(replace(execution, workers_per_gpu=1), Embed()).gpus == 1
    assert shared(Execution(workers_per_gpu=4), Embed()).gpus == 0
    cluster(gpus=8)
    assert sizes(four, 1000) == (32, 1000)
    assert sizes(replace(four, workers=6), 1000) == (6, 6)
    cluster(gpus=8, cpus=8)
    assert sizes(four, 1000) == (8, 1000)  # each needs a CPU too
    cluster(gpus=0)
    assert sizes(four, 1000) == (1, 1000)
    cluster(gpus=1)
    assert Workers.of(four, Embed()).rows(four, 10_000) == 313


@pytest.mark.parametrize(
    ("samples", "gpus", "rows"), [(10_000, 8, 313), (1_000, 8, 64), (10, 8, 64), (1_000_000, 8, 4096), (10_000, 1, 313)]
)
def test_batches_are_small_enough_for_all_gpus_and_large_enough_for_one(cluster, samples, gpus, rows):
    cluster(gpus)
    assert Workers.of(GPU, Embed()).rows(GPU, samples) == rows


def test_batches_on_cpus_and_below_the_least_are_those_of_the_profile(cluster):
    cluster(gpus=8)
    laptop, small = Execution(rows=512), Execution(rows=16, gpus=1)
    assert Workers.of(laptop, Embed()).rows(laptop, 600) == 512
    assert Workers.of(small, Embed()).rows(small, 10_000) == 16
    two = Execution(rows=4096, gpus=1, workers=2)
    assert Workers.of(two, Embed()).rows(two, 10_000) == 1250
