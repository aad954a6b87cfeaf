"""What doctor says of a profile on clusters that are only told of."""

import pytest

from jobs.doctor import gpus_against
from jobs.engine.execute.profile import profile


@pytest.mark.parametrize(
    ("name", "gpus", "told"),
    [
        ("laptop", [0], []),
        ("laptop", [8, 0], ["all GPUs are hidden from the workers; --profile gpu"]),
        ("gpu", [0, 1], []),
        ("gpu", [0], ["a worker takes 1 GPUs", "a reduce takes 1", "a training process takes 1"]),
        ("gpu_8", [4, 4], []),
        ("gpu_8", [4], ["training takes 8 GPUs, and the cluster has 4"]),
        ("judge_70b", [4], []),
        ("judge_70b", [2, 2], [f"a worker of {name} takes 4 GPUs of one node, and no node has more than 2" for name in
                               ("Judge", "Rewrite", "Evolve", "Compare", "Respond")]),
    ],
)  # fmt: skip
def test_a_profile_that_wants_more_gpus_than_there_are_is_told(name, gpus, told):
    found = list(gpus_against(profile(name), gpus))
    assert len(found) == len(told)
    for (_, _, said), words in zip(found, told, strict=True):
        assert words in said
