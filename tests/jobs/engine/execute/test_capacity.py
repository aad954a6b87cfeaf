"""Whether a cluster has the GPUs of a profile, for clusters that are only told of and for the one of the tests."""

import math

import pytest

from jobs import curate
from jobs.engine.execute.capacity import Capacity, Nodes, lacking
from jobs.engine.execute.profile import profile
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
        ("gpu", Capacity((NONE,)), ["embed", "rating", "training"]),
        ("gpu", Capacity((NONE, Nodes(1, 8, 1))), []),
        ("mixed", Capacity((NONE,), (Nodes(16, 8, 0), Nodes(8, 8, 1))), []),
        ("mixed", Capacity((NONE,), (Nodes(16, 8, 0), Nodes(0, 8, 1))), ["embed", "rating", "training"]),
        ("judge_70b", Capacity((Nodes(4, 8, 2),)), ["rating"]),
        ("judge_70b", Capacity((NONE,), (Nodes(math.inf, 8, 8),)), []),
        ("gpu_8", Capacity((Nodes(7, 8, 1),)), ["training"]),
        ("gpu_8", Capacity((Nodes(8, 8, 1),)), []),
    ],
)
def test_a_step_that_would_wait_forever_is_named(name, capacity, lack):
    found = list(lacking(STEPS, profile(name), capacity))
    assert [each.partition(":")[0] for each in found] == lack
    assert all(str(capacity) in each for each in found)


def test_a_run_on_a_cluster_without_gpus_ends_before_it_reads(ray_session, tmp_path):
    from jobs.engine.terminal.errors import UsageError

    (tmp_path / "data.jsonl").write_text('{"instruction": "a", "output": "b"}\n')
    words = ["ltd", tmp_path / "data.jsonl", "--out", tmp_path / "out", "--store", tmp_path / "store"]
    with pytest.raises(UsageError, match=r"embed: with this profile a worker of Embed takes 1 GPU.* 4 CPUs and no GPU"):
        curate.main([*map(str, words), "--profile", "gpu"])
    assert not (tmp_path / "out").exists()
    assert not list((tmp_path / "store").rglob("part-*"))
