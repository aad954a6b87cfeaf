"""Which GPUs a worker sees and holds, with a stand-in for what Ray assigned; no GPU is needed."""

import os
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import ray
import torch
from pydantic.dataclasses import dataclass

from jobs.engine.execute import reduce_worker, reducing, spread
from jobs.engine.execute.map_worker import Attempts, Worker
from jobs.engine.execute.profile import Execution, Profile
from jobs.engine.execute.reduce_worker import Found, Request, reduce_here
from jobs.engine.execute.reducing import reduced
from jobs.engine.execute.session import Session
from jobs.engine.execute.spread import Spread
from jobs.engine.store.folder import Folder
from jobs.engine.store.store import Store
from jobs.engine.train import train_worker
from jobs.methods import targets
from operators.asking.judge import Judge
from operators.asking.rewrite import Rewrite
from operators.base import STRICT, Operator
from operators.characters import Characters
from operators.checkpoint import Checkpoint
from operators.embedding.embed import Embed
from operators.field import Field
from operators.gradients.gradient import Gradient
from operators.tokens import Tokens

VISIBLE = "CUDA_VISIBLE_DEVICES"


@pytest.fixture(params=[[], ["3"]], ids=["without a GPU", "with a GPU"])
def seen(request, monkeypatch):
    """What a worker should see on a node with GPUs, given those that Ray assigned to it: none, or those."""
    monkeypatch.setattr(ray, "get_gpu_ids", lambda: request.param)
    monkeypatch.setenv(VISIBLE, "3")  # as Ray leaves it: set where it assigned GPUs, else as the node has it
    return ",".join(request.param)


@dataclass(frozen=True, config=STRICT)
class Looks(Operator):
    """What a worker of it sees when it is loaded."""

    def load(self):
        visible = os.environ.get(VISIBLE)
        return lambda batch: [visible] * batch.num_rows


def look(values: np.ndarray, device: str = "cpu") -> tuple[str | None, str]:
    """A kernel that tells what its process sees, and where it was told to run."""
    return os.environ.get(VISIBLE), device


def plain(values: np.ndarray) -> int:
    """A kernel that knows of no device."""
    return len(values)


def test_a_map_s_worker_sees_only_its_own_gpus(seen, tmp_path):
    feature = Store(str(tmp_path)).feature(Looks(), "pool")
    worker = Worker(Looks(), feature, Attempts(str(tmp_path)))
    assert os.environ[VISIBLE] == seen
    assert not worker.failure


@pytest.mark.parametrize(("assigned", "bound"), [({"GPU": 0.25}, [0.25]), ({"GPU": 1.0}, []), ({"CPU": 1.0}, [])])
def test_a_worker_that_shares_a_gpu_keeps_to_its_share_of_the_memory(assigned, bound, tmp_path, monkeypatch):
    found = []
    context = SimpleNamespace(get_actor_id=lambda: "an actor", get_assigned_resources=lambda: assigned)
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "get_runtime_context", lambda: context)
    monkeypatch.setattr(ray, "get_gpu_ids", lambda: ["3"] if "GPU" in assigned else [])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", found.append)
    feature = Store(str(tmp_path)).feature(Looks(), "pool")
    assert not Worker(Looks(), feature, Attempts(str(tmp_path))).failure
    assert found == bound


def test_a_reduce_sees_only_its_own_gpus(seen):
    assert list(reduce_here(Request(look, [np.zeros(3)], 3, {}, Spread()))) == [Found((seen, "cpu"))]


def test_a_writer_of_targets_sees_only_its_own_gpus(seen, tmp_path, monkeypatch):
    found = []
    monkeypatch.setattr(targets, "directions", lambda *_: found.append(os.environ.get(VISIBLE)))
    gradient = Gradient(Checkpoint("some/model"), Checkpoint("some/adapter"))
    targets.write_directions(gradient, {}, Folder(str(tmp_path / "of")), "subtasks.safetensors", "mean_of_cosines")
    assert found == [seen]


def test_a_training_process_sees_only_its_own_gpus(seen, monkeypatch):
    found = []
    monkeypatch.setattr(train_worker, "carry_out", lambda _: found.append(os.environ.get(VISIBLE)))
    train_worker.train_here(cast(Any, None))
    assert found == [seen]


@pytest.mark.parametrize("task", [reduce_worker.REDUCE, targets.WRITE, train_worker.ALONE])
def test_a_process_that_had_a_gpu_ends_with_its_task_and_another_is_used_again(task):
    assert task.on(1)._max_calls == 1
    assert task.on(0.5)._max_calls == 1
    assert task.on(0)._max_calls == 0


class Remote:
    """A stand-in for a task: notes what is requested, and calls the function here."""

    def __init__(self):
        self.requested = []

    def on(self, gpus):
        self.requested.append(gpus)
        return self

    def options(self, num_cpus, num_gpus, name):
        assert num_gpus == self.requested[-1]
        return self

    @staticmethod
    def remote(request):
        return reduce_here(request)


def test_a_reduce_requests_a_gpu_only_for_a_kernel_that_has_a_device(tmp_path, monkeypatch):
    remote = Remote()
    monkeypatch.setattr(reducing, "REDUCE", remote)
    monkeypatch.setattr(ray, "get", lambda result: result)
    monkeypatch.setattr(spread, "largest_node_cpus", lambda: 2.0)
    monkeypatch.setattr(ray, "get_gpu_ids", list)
    monkeypatch.delenv(VISIBLE, raising=False)
    session = Session(Store(str(tmp_path)), Profile(reduce_gpus=1))
    assert reduced(plain, {"column": np.zeros(3)}, 3, {}, session) == 3
    assert reduced(look, {"column": np.zeros(3)}, 3, {}, session) == ("", "cuda")
    assert reduced(look, {"column": np.zeros(3)}, 3, {}, replace(session, profile=Profile())) == ("", "cpu")
    assert remote.requested == [0, 1, 0]


def test_an_operator_that_computes_nothing_on_a_gpu_holds_none():
    gpu = Profile(default=Execution(gpus=1, rows=7), operators={"Judge": Execution(gpus=4)})
    assert [gpu.execution(each).gpus for each in (Embed(), Judge())] == [1, 4]
    asking = (Judge(endpoint="http://server/v1"), Rewrite(endpoint="http://server/v1"))
    assert [gpu.execution(each).gpus for each in (*asking, Tokens(), Characters(), Field("kind"))] == [0] * 5
    assert gpu.execution(Characters()).rows == 7
