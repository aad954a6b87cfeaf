"""More nodes for the tests' Ray, on this machine, and how they and the driver end without a warning.

with more_nodes(2, cpus=4) as (first, second):
    pool.map(vector=Doomed(node=first, grave=str(tmp_path / "grave")))
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import ray
from pydantic.dataclasses import dataclass

from operators.base import STRICT
from operators.kernels.k_center import cover
from operators.kernels.shard import Shard
from operators.kernels.sharding import sharded
from tests.heads import free_ports
from tests.standins import Hashed
from tests.warm_workers import COLD

SECONDS = 150
"""The most that a test waits, on a machine that is busy with other work."""


def alive() -> set[str]:
    """The ids of the nodes that are alive."""
    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}


def wait_for(count: int) -> None:
    """Returns when so many nodes are alive."""
    deadline = time.monotonic() + SECONDS
    while len(alive()) != count:
        assert time.monotonic() < deadline, f"{len(alive())} nodes are alive"
        time.sleep(0.2)


@contextmanager
def more_nodes(count: int, cpus: int, before: Sequence[str] = (), gpus: int = 0) -> Iterator[list[str]]:
    """Starts nodes that join the tests' Ray, and ends those that are left; gives their ids.

    before: the words of a command that runs another one, in front of `ray start`. gpus: those that Ray takes each node
    to have, whatever it has.
    """
    there = alive()
    words = [*before, sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats"]
    words += ["--address", ray.get_runtime_context().gcs_address, f"--num-cpus={cpus}", f"--num-gpus={gpus}"]
    words += ["--object-store-memory=100000000"]
    started: list[subprocess.Popen[bytes]] = []
    try:
        for at in range(count):  # one after another: two that start at a time hinder each other for half a minute
            started.append(_started(words))
            deadline = time.monotonic() + SECONDS
            while len(alive()) <= len(there) + at:
                assert time.monotonic() < deadline, f"{at} of {count} nodes started"
                if started[at].poll() is not None:  # Ray gives a node 30 seconds to start, which is not enough here
                    _end(started[at])
                    started[at] = _started(words)
                time.sleep(0.2)
        yield sorted(alive() - there)
    finally:
        for process in started:
            _end(process)
        wait_for(len(there))


def _started(words: Sequence[str]) -> subprocess.Popen[bytes]:
    """The process of a node, which leads a group of its own and says nothing."""
    (port,) = free_ports(1)
    nowhere = subprocess.DEVNULL
    words = [*words, f"--dashboard-agent-listen-port={port}"]  # two nodes of a machine would take the same one
    environment = {**os.environ, COLD: "1"}
    return subprocess.Popen(words, stdout=nowhere, stderr=nowhere, start_new_session=True, env=environment)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kills a process and those that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def end_node(node: str, grave: str) -> None:
    """In a worker on this node: kills the node's raylet and makes the file `grave`, unless it is there.

    In a worker elsewhere: returns when the file is there.
    """
    here = ray.get_runtime_context().get_node_id() == node
    deadline = time.monotonic() + SECONDS
    while not os.path.exists(grave):
        if here:
            raylet = psutil.Process(int(os.environ["RAY_RAYLET_PID"]))
            assert raylet.name() == "raylet"
            Path(grave).touch()
            raylet.send_signal(signal.SIGKILL)
            time.sleep(SECONDS)  # a worker ends when it misses its raylet
        assert time.monotonic() < deadline
        time.sleep(0.05)


@dataclass(frozen=True, config=STRICT)
class Doomed(Hashed):
    """The vectors of `Hashed`. The first batch on one node ends the node."""

    node: str = ""
    grave: str = ""

    def load(self):
        compute = super().load()

        def after_the_end(batch):
            end_node(self.node, self.grave)
            return compute(batch)

        return after_the_end


class DoomedShard(Shard):
    """A shard that ends its node, or the driver, when it is asked for candidates for the first time."""

    def dig(self, node, driver, grave):
        self.node, self.driver, self.grave = node, driver, grave

    def flush(self, centers, taken, count):
        if self.node:
            end_node(self.node, self.grave)
        elif not os.path.exists(self.grave):
            Path(self.grave).touch()
            os.kill(self.driver, signal.SIGKILL)
        return super().flush(centers, taken, count)


def _doomed_cover(ask, k, *, node="", driver=0, grave="", tell):
    ask("dig", node, driver, grave)
    return cover(ask, k, tell=tell)


@sharded(DoomedShard, _doomed_cover)
def doomed_k_center(points, k, *, node="", driver=0, grave=""):
    """k-center whose shards end a node or the driver."""
    raise AssertionError("it is to run over shards")
