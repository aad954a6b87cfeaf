"""What is lost with a node or a driver: nothing that is stored, and no pick. On three nodes of this machine."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray

from jobs.engine.execute.profile import Execution, Profile
from operators.kernels.k_center import k_center
from tests.jobs.engine.execute.walk import sharded, walk
from tests.nodes import Doomed, alive, more_nodes
from tests.standins import Hashed, Looks

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[4]
TEXTS = [f"word{at}" for at in range(64)]


@pytest.fixture(scope="module")
def nodes(ray_session):
    """The ids of two nodes beside the one of all tests; each has as many CPUs as that one, and a GPU for Ray."""
    with more_nodes(2, cpus=4, gpus=1) as started:
        yield started


@pytest.fixture
def pool(make_pool):
    return make_pool(TEXTS)


def test_a_map_on_gpus_has_a_worker_for_each_and_one_without_sees_none(nodes, pool, session):
    for gpus, seen in ((1, "0"), (0.25, "0"), (0, "")):
        profile = Profile(default=Execution(rows=1, cpus=1, gpus=gpus), stall_seconds=150)
        mapped = replace(pool, session=replace(session, profile=profile)).map(seen=Looks(asked=round(4 * gpus)))
        assert set(mapped.values("seen").tolist()) == {seen}


def vectors(pool) -> np.ndarray:
    """What `Hashed` gives for the samples, computed here."""
    parts = sorted(Path(pool.origin.folder).glob("part-*.parquet"))
    shas = pa.concat_tables([pq.read_table(part, columns=["sha"]) for part in parts])
    return Hashed().load()(shas)


@pytest.mark.fault(
    "the driver is killed",
    how="SIGKILL of a driver on three nodes, by a shard in the first round of k-center",
    holds="no sample is computed again; the picks are those of an unharmed run",
)
def test_a_driver_that_is_killed_in_a_sharded_reduce_leaves_its_values_and_the_next_one_has_its_picks(
    nodes, pool, session, tmp_path
):
    grave = tmp_path / "grave"
    words = ["-m", "tests.jobs.engine.execute.walk", pool.origin.folder, session.store.url, grave]
    env = os.environ | {"RAY_ADDRESS": ray.get_runtime_context().gcs_address}
    # The workers of a driver find its modules in its working directory.
    done = subprocess.run(
        [sys.executable, *map(str, words)], cwd=ROOT, env=env, timeout=200, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr
    assert grave.exists()
    again = replace(session, profile=sharded(2))
    found = walk(pool.origin.folder, again, grave=str(grave))
    mapped, reduced = again.log
    assert mapped["computed"] == 0
    assert reduced["shards"] > 1
    expected = k_center(vectors(pool), 20)
    assert found.picks.order.tolist() == expected.picks.tolist()


@pytest.mark.fault(
    "a node is lost",
    how="SIGKILL of the raylet of one of three nodes, in its first batch",
    holds="every sample has the value of an unharmed map, with no node in place of the lost one",
)
def test_a_node_that_is_lost_in_a_map_costs_no_value(nodes, pool, session, tmp_path):
    grave = tmp_path / "grave"
    profile = Profile(default=Execution(rows=4, cpus=3, workers=3), stall_seconds=150)  # one on each node
    there = alive()
    mapped = replace(pool, session=replace(session, profile=profile)).map(
        vector=Doomed(node=nodes[0], grave=str(grave))
    )
    assert grave.exists()
    assert there - alive() == {nodes[0]}
    assert mapped.ids.tolist() == list(range(64))
    assert np.array_equal(mapped.values("vector"), vectors(pool))


@pytest.mark.fault(
    "a node is lost",
    how="SIGKILL of the raylet of one of two nodes, in the first round of k-center over shards",
    holds="the reduce starts again over the nodes that are left, from the store; the picks and the radius are the same",
)
def test_a_node_that_is_lost_in_a_sharded_reduce_changes_no_pick(nodes, pool, session, tmp_path, capsys):
    grave = tmp_path / "grave"
    there = alive()
    over_all = replace(session, profile=sharded(5))  # more than the CPUs that are left
    found = walk(pool.origin.folder, over_all, node=nodes[1], grave=str(grave))
    assert grave.exists()
    assert there - alive() == {nodes[1]}
    assert over_all.log[-1]["shards"] > 4
    expected = k_center(vectors(pool), 20)
    assert found.picks.order.tolist() == expected.picks.tolist()
    assert found.radius == expected.radius
    assert "a worker died" in capsys.readouterr().out
