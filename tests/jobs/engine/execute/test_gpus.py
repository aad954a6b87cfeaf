"""Which GPUs a worker sees and holds, with a stand-in for what Ray assigned; no GPU is needed."""

import os
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import ray
import torch
from ray.exceptions import RayTaskError

from jobs.engine.execute import reduce_worker, reducing, spread
from jobs.engine.execute.map_worker import Attempts, Worker
from jobs.engine.execute.profile import Execution, Profile
from jobs.engine.execute.reduce_worker import Found, Request, Shard, reduce_here
from jobs.engine.execute.reducing import reduced
from jobs.engine.execute.session import Session
from jobs.engine.execute.spread import Spread
from jobs.engine.store.folder import Folder
from jobs.engine.store.store import Store
from jobs.engine.terminal.errors import WinnowError
from jobs.engine.train import train_worker, whole_model
from jobs.engine.train.training import say_what_it_waits_for
from jobs.methods import held_out, targets
from operators.asking.judge import Judge
from operators.asking.rewrite import Rewrite
from operators.characters import Characters
from operators.checkpoint import Checkpoint
from operators.embedding.embed import Embed
from operators.field import Field
from operators.gradients.gradient import Gradient
from operators.kernels.k_center import k_center
from operators.tokens import Tokens
from tests.standins import Looks

VISIBLE = "CUDA_VISIBLE_DEVICES"


@pytest.fixture(params=[[], ["3"]], ids=["without a GPU", "with a GPU"])
def seen(request, monkeypatch):
    """What a worker should see on a node with GPUs, given those that Ray assigned to it: none, or those."""
    monkeypatch.setattr(ray, "get_gpu_ids", lambda: request.param)
    monkeypatch.setenv(VISIBLE, "3")  # as Ray leaves it: set where it assigned GPUs, else as the node has it
    return ",".join(request.param)


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
    assert list(reduce_here(Request(look, [np.zeros(3)], 3, {}, Spread()))) == ["", Found((seen, "cpu"))]


def test_a_shard_of_a_reduce_sees_only_its_own_gpus(seen):
    Shard().hold(k_center, [np.eye(3)], 0, Spread())
    assert os.environ[VISIBLE] == seen


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


def test_the_driver_of_several_ranks_sees_no_gpu_and_ranks_on_cpus_see_none_from_their_start(monkeypatch, tmp_path):
    import ray.train.torch

    found = []

    class Trainer:
        """A stand-in for Ray Train's: notes what it is given, and what the process sees."""

        def __init__(self, loop, run_config, scaling_config, torch_config):
            patience = float(os.environ["RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S"])
            assert (patience, scaling_config.use_gpu) == (torch_config.timeout_s, torch_config.backend == "nccl")
            found.append((os.environ[VISIBLE], run_config.worker_runtime_env))

        def fit(self):
            """Nothing is trained."""

    for name in (VISIBLE, "RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S"):
        monkeypatch.setenv(name, "0,1")
    monkeypatch.delenv("RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S")
    monkeypatch.setattr(ray, "get_gpu_ids", list)
    monkeypatch.setattr(ray.train.torch, "TorchTrainer", Trainer)
    for gpus in (0, 1):
        cast(Any, train_worker.together)._function(SimpleNamespace(folder=str(tmp_path)), 2, gpus)
    assert found == [("", {"env_vars": {VISIBLE: ""}}), ("", {})]


def test_a_task_that_merges_an_adapter_sees_only_its_own_gpus(seen, monkeypatch, tmp_path):
    found = []

    def merge(trainer, epoch, half):
        half.mkdir()
        found.append(os.environ[VISIBLE])

    monkeypatch.setattr(whole_model, "_merge", merge)
    cast(Any, whole_model._merged)._function(
        None, SimpleNamespace(folder=lambda: tmp_path), Folder(str(tmp_path / "whole"))
    )
    assert found == [seen]


def test_a_training_says_that_it_waits_for_nodes_with_gpus(monkeypatch, capsys):
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 8.0, "GPU": 4.0})
    say_what_it_waits_for(8)
    assert capsys.readouterr().out.startswith("train: the cluster has 4 of 8 GPUs; waiting")
    say_what_it_waits_for(4)
    assert not capsys.readouterr().out


def test_a_task_of_held_out_losses_sees_only_its_own_gpus(seen, monkeypatch):
    monkeypatch.setattr(held_out, "read_samples", lambda *_: [])
    held_out.loss_here(cast(Any, SimpleNamespace(load=lambda: None)), cast(Any, None), np.arange(0))
    assert os.environ[VISIBLE] == seen


class Remote:
    """A stand-in for a task: notes what is requested, and calls the function here."""

    def __init__(self):
        self.requested = []
        self.failures = []

    def on(self, gpus):
        self.requested.append(gpus)
        return self

    def options(self, num_cpus, num_gpus, name):
        assert num_gpus == self.requested[-1]
        return self

    def remote(self, request):
        if self.failures:
            error = self.failures.pop()
            raise RayTaskError("reduce_here", str(error), error)
        return reduce_here(request)


@pytest.fixture
def remote(monkeypatch):
    """The task of a reduce, run here."""
    made = Remote()
    monkeypatch.setattr(reducing, "REDUCE", made)
    monkeypatch.setattr(ray, "get", lambda result: result)
    monkeypatch.setattr(ray, "wait", lambda items, timeout: (items, []))
    monkeypatch.setattr(spread, "largest_node_cpus", lambda: 2.0)
    monkeypatch.setattr(ray, "get_gpu_ids", list)
    monkeypatch.delenv(VISIBLE, raising=False)
    return made


def test_a_reduce_waits_for_a_gpu_and_says_so_and_starts_again_on_another_one(remote, tmp_path, monkeypatch, capsys):
    session = Session(Store(str(tmp_path)), Profile(reduce_gpus=1))
    waits = iter([0, 0, 1, 1])
    monkeypatch.setattr(ray, "wait", lambda items, timeout: (items[: next(waits)], []))
    remote.failures = [RuntimeError("CUDA error: uncorrectable ECC error encountered")]
    assert reduced(look, {"column": np.zeros(3)}, 3, {}, session) == ("", "cuda")
    said = capsys.readouterr().out
    assert said.count("look: waiting for a worker with 1 CPUs and 1 GPUs, for which the cluster has no room yet") == 2
    assert "a worker died (CUDA error: uncorrectable ECC error encountered); starting again" in said
    remote.failures = [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 90.00 GiB")]
    with pytest.raises(WinnowError, match=r"out of memory.*; less reduce_bytes .*reduce_gpus: 0 computes"):
        reduced(look, {"column": np.zeros(3)}, 3, {}, session)


def test_columns_that_are_too_large_for_a_gpu_are_dealt_to_several(monkeypatch):
    node = {"Alive": True, "Resources": {"CPU": 64.0, "GPU": 8.0, "memory": 2e12}}
    monkeypatch.setattr(ray, "nodes", lambda: [node])
    monkeypatch.setattr(spread, "cluster_gpus", lambda: [80 * 2**30] * 8)
    wide = np.broadcast_to(np.float16(0), (60_000_000, 384))  # 46 GB, in no memory
    assert spread.spread(k_center, {"embed": wide}, len(wide), Profile(reduce_gpus=1)).shards == 8
    assert spread.spread(k_center, {"embed": wide[::2]}, len(wide) // 2, Profile(reduce_gpus=1)).shards == 1
    assert spread.spread(k_center, {"embed": wide}, len(wide), Profile()).shards == 1


def test_a_reduce_requests_a_gpu_only_for_a_kernel_that_has_a_device(remote, tmp_path):
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
