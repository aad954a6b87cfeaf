"""How many workers a map has and how large their batches are, on clusters that are only told of."""

import pytest
import ray

from jobs.engine.execute.profile import Execution
from jobs.engine.execute.workers import Workers
from operators.asking.judge import Judge
from operators.embedding.embed import Embed

GPU = Execution(rows=4096, cpus=1, gpus=1)


@pytest.fixture
def cluster(monkeypatch):
    """Sets what the cluster has, and whether others started it, so that it may grow."""

    def has(gpus: int, cpus: int = 64, joined: bool = True) -> None:
        monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": cpus, "GPU": gpus})
        monkeypatch.delenv("RAY_ADDRESS", raising=False)
        if joined:
            monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")

    return has


def sizes(execution, batches, operator=None):
    pool = Workers.of(execution, operator or Embed()).pool(batches)
    return pool.min_size, pool.max_size


def test_a_pool_grows_on_a_cluster_that_shows_no_gpu_at_first(cluster, capsys):
    cluster(gpus=0)
    assert sizes(GPU, 100) == (1, 100)
    assert "waiting" in capsys.readouterr().out
    assert sizes(Execution(gpus=1, workers=8), 100) == (1, 8)
    assert sizes(Execution(gpus=4, workers=8), 3) == (1, 3)
    cluster(gpus=16)
    assert sizes(GPU, 100) == (16, 100)
    assert sizes(Execution(gpus=4, workers=8), 100) == (4, 8)
    assert sizes(GPU, 3) == (3, 3)
    assert sizes(GPU, 100, Judge(endpoint="http://server/v1")) == (1, 1)


def test_a_pool_on_this_machine_has_the_workers_that_it_has_room_for(cluster):
    cluster(gpus=0, cpus=2, joined=False)
    assert sizes(Execution(), 100) == (2, 2)
    assert sizes(Execution(workers=1), 100) == (1, 1)
    assert sizes(Execution(), 1) == (1, 1)
    assert sizes(Execution(cpus=0), 7) == (7, 7)


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
