"""What doctor says of a profile on clusters that are only told of."""

import pytest

from jobs.doctor import profile_against
from jobs.engine.execute.capacity import Capacity, Nodes
from jobs.engine.execute.profile import profile


def nodes(*gpus: float) -> tuple[Nodes, ...]:
    return tuple(Nodes(1, 8, each) for each in gpus)


@pytest.mark.parametrize(
    ("name", "capacity", "told"),
    [
        ("laptop", Capacity(nodes(0)), []),
        ("laptop", Capacity(nodes(8, 0)), ["all GPUs are hidden from the workers; --profile gpu"]),
        ("laptop", Capacity((Nodes(1, 0.5, 0),)), ["a worker takes 0.9 CPUs", "a reduce takes 1 CPUs", "a training"]),
        ("gpu", Capacity(nodes(0, 1)), []),
        ("gpu", Capacity(nodes(0)), ["a worker takes 1 CPUs and 1 GPUs", "a reduce takes 1", "a training"]),
        ("gpu", Capacity(nodes(0), nodes(0, 8)), []),  # started on demand
        ("gpu_8", Capacity(nodes(4, 4)), []),
        ("gpu_8", Capacity(nodes(4)), ["training takes 8 processes with 1 CPU and 1 GPUs each, and"]),
        ("judge_70b", Capacity(nodes(4)), []),
        ("judge_70b", Capacity(nodes(2, 2)),
         [f"a worker of {name} takes 1 CPUs and 4 GPUs of one node, and none has them"
          for name in ("Judge", "Rewrite", "Evolve", "Compare", "Respond")]),
    ],
)  # fmt: skip
def test_a_profile_that_wants_more_than_a_node_has_is_told(name, capacity, told):
    found = list(profile_against(profile(name), capacity))
    assert len(found) == len(told)
    for (_, _, said), words in zip(found, told, strict=True):
        assert words in said
