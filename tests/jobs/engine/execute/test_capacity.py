"""Whether a cluster has the GPUs of a profile, for clusters that are only told of and for the one of the tests."""

import math

import pytest

from jobs import curate
from jobs.engine.execute.capacity import Capacity, Nodes, lacking
from jobs.engine.execute.profile import Profile, profile
from operators.asking.judge import Judge
from operators.checkpoint import Checkpoint
from operators.embedding.embed import Embed
from operators.tokens import Tokens
from operators.training.finetune import Finetune

STEPS = {
    "length": Tokens(),
    "embed": Embed(),
    "rating": Judge(Checkpoint("/models/judge")),
    "training": Finetune(base=Checkpoint("/models/base")),
}
NONE = Nodes(2, 8, 0)


@pytest.mark.parametrize(
    ("name", "capacity", "lack"),
    [
        ("laptop", Capacity((NONE,)), []),
        ("gpu", Capacity((NONE,)), ["embed", "rating", "training", "reduce_gpus"]),
        ("gpu", Capacity((NONE, Nodes(1, 8, 1))), []),
        ("mixed", Capacity((NONE,), (Nodes(16, 8, 0), Nodes(8, 8, 1))), []),
        ("mixed", Capacity((NONE,), (Nodes(16, 8, 0), Nodes(0, 8, 1))), ["embed", "rating", "training"]),
        ("judge_70b", Capacity((Nodes(4, 8, 2),)), ["rating"]),
        ("judge_70b", Capacity((NONE,), (Nodes(math.inf, 8, 8),)), []),
        ("judge_70b", Capacity((Nodes(1, 64, 0), Nodes(1, 0.5, 8))), ["embed", "rating", "training", "reduce_gpus"]),
        ("laptop", Capacity((Nodes(4, 0.5, 0),)), ["length", "embed", "rating", "training", "reduce_gpus"]),
        ("gpu_8", Capacity((Nodes(7, 8, 1),)), ["training"]),
        ("gpu_8", Capacity((Nodes(8, 8, 1),)), []),
        ("gpu_8", Capacity((Nodes(1, 8, 8),)), []),
        ("gpu_8", Capacity((Nodes(1, 4, 8),)), ["training"]),
        ("gpu_8", Capacity((NONE,), (Nodes(math.inf, 0.5, 8), Nodes(2, 4, 4))), []),
    ],
)
def test_a_step_that_would_wait_forever_is_named(name, capacity, lack):
    found = list(lacking(STEPS, profile(name), capacity))
    assert [each.partition(":")[0] for each in found] == lack
    assert all(str(capacity) in each for each in found)


def test_several_processes_without_gpus_that_have_not_a_cpu_each_are_refused():
    (found,) = lacking(STEPS, Profile(train_workers=17), Capacity((NONE,)))
    assert found.startswith("training: with this profile training takes 17 process(es) with 1 CPU(s) of one node each")
    assert list(lacking(STEPS, Profile(train_workers=16), Capacity((NONE,)))) == []


def test_reduces_on_gpus_are_refused_where_there_is_none_whatever_the_steps_take():
    asked = Profile(reduce_gpus=1)
    (found,) = lacking(STEPS, asked, Capacity((NONE,)))
    assert found.startswith("reduce_gpus: with this profile a reduce takes 1 GPU(s) and 1 CPU(s) of one node, and this")
    assert list(lacking({"length": Tokens()}, asked, Capacity((NONE,)))) == []  # nothing is reduced on a GPU
    assert list(lacking(STEPS, asked, Capacity((NONE,), (Nodes(2, 8, 1),)))) == []


def test_nodes_that_the_autoscaler_may_start_count(ray_session, monkeypatch):
    from ray._raylet import GCS_AUTOSCALER_CLUSTER_CONFIG_KEY, GCS_AUTOSCALER_STATE_NAMESPACE
    from ray.core.generated.autoscaler_pb2 import ClusterConfig
    from ray.experimental import internal_kv

    config = ClusterConfig()
    for name, cpus, gpus, most in (("cpu", 8, 0, 4), ("gpu", 16, 8, -1)):
        group = config.node_group_configs.add(name=name, max_count=most)
        group.resources.update({"CPU": cpus} | ({"GPU": gpus} if gpus else {}))
    key, space = GCS_AUTOSCALER_CLUSTER_CONFIG_KEY.encode(), GCS_AUTOSCALER_STATE_NAMESPACE.encode()
    internal_kv._internal_kv_put(key, config.SerializeToString(), namespace=space)
    try:
        assert not Capacity.of_cluster().on_demand  # a Ray that a command starts itself does not grow
        monkeypatch.setenv("RAY_ADDRESS", "auto")
        found = Capacity.of_cluster()
    finally:
        internal_kv._internal_kv_del(key, namespace=space)
    assert set(found.on_demand) == {Nodes(4, 8, 0), Nodes(math.inf, 16, 8)}
    assert str(found) == "1 node(s), 4 CPUs and no GPU, and starts nodes of 8 on demand"
    assert list(lacking(STEPS, profile("judge_70b"), found)) == []


def test_a_run_on_a_cluster_without_gpus_ends_before_it_reads(ray_session, tmp_path):
    from jobs.engine.terminal.errors import UsageError

    (tmp_path / "data.jsonl").write_text('{"instruction": "a", "output": "b"}\n')
    words = ["ltd", tmp_path / "data.jsonl", "--out", tmp_path / "out", "--store", tmp_path / "store"]
    with pytest.raises(UsageError, match=r"embed: with this profile a worker of Embed takes 1 GPU.* 4 CPUs and no GPU"):
        curate.main([*map(str, words), "--profile", "gpu"])
    assert not (tmp_path / "out").exists()
    assert not list((tmp_path / "store").rglob("part-*"))
