"""Which models are fetched, on which nodes and when, on clusters that are only described."""

import pytest
import ray
from ray.exceptions import NodeDiedError, RayTaskError

from jobs.engine.execute import fetching, stream
from jobs.engine.execute.fetching import distant_models, fetch_models, wait_for_node
from jobs.engine.execute.profile import Execution, Profile
from jobs.engine.execute.session import Session
from jobs.engine.samples.runs import Runs
from jobs.engine.store.store import Store
from jobs.engine.terminal.errors import WinnowError
from operators.asking.judge import Judge
from operators.checkpoint import Checkpoint
from operators.embedding.embed import Embed
from operators.gradients.gradient import Gradient
from operators.tokens import Tokens
from tests.standins import Touchy

BASE, QWEN = Checkpoint("someone/base"), Checkpoint("Qwen/Qwen3-8B")


def test_only_models_of_the_hub_are_fetched(tmp_path):
    assert distant_models(Judge(model=QWEN)) == [QWEN]
    assert distant_models(Judge(model=QWEN, endpoint="http://server/v1")) == []
    assert distant_models(Tokens()) == []  # its tokenizer is in a package
    assert distant_models(Embed(model=Checkpoint(str(tmp_path)))) == []
    assert distant_models(Gradient(BASE, adapter=Checkpoint(str(tmp_path)))) == [BASE]
    assert distant_models(Gradient(BASE, adapter=BASE)) == [BASE]


def hexadecimal(name: str) -> str:
    """A node's id, as Ray writes it."""
    return name.encode().ljust(28, b".").hex()


@pytest.fixture
def fetched(monkeypatch):
    """The names of the nodes on which models were fetched."""
    found = []

    class Remote:
        def options(self, scheduling_strategy):
            assert scheduling_strategy.soft is False
            found.append(next(name for name in shapes if scheduling_strategy.node_id == hexadecimal(name)))
            return self

        def remote(self, models):
            return models

    shapes = {"head": {"CPU": 4.0}, "one": {"CPU": 64.0, "GPU": 8.0}, "two": {"CPU": 64.0, "GPU": 2.0}, "no": {}}
    nodes = [{"NodeID": hexadecimal(name), "Alive": True, "Resources": shape} for name, shape in shapes.items()]
    nodes.append({"NodeID": hexadecimal("dead"), "Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}})
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    monkeypatch.setattr(ray, "get", lambda all_of_them: all_of_them)
    monkeypatch.setattr(fetching, "_fetched", Remote())
    return found


@pytest.mark.parametrize(("gpus", "nodes"), [(0, ["head", "one", "two"]), (1, ["one", "two"]), (4, ["one"])])
def test_every_node_on_which_a_worker_may_run_fetches_once_and_it_is_said(fetched, capsys, gpus, nodes):
    fetch_models(Judge(model=QWEN), "rating", Execution(gpus=gpus))
    assert fetched == nodes
    assert f"rating: each of {len(nodes)} nodes gets Qwen/Qwen3-8B" in capsys.readouterr().out


def test_a_node_that_dies_while_it_fetches_is_left_out_and_a_model_that_is_not_there_ends_the_map(fetched, monkeypatch):
    def lost(node):
        raise NodeDiedError("it was preempted")

    monkeypatch.setattr(ray, "get", lost)
    with pytest.raises(NodeDiedError):
        fetch_models(Judge(model=QWEN), "rating", Execution(gpus=4))
    alive, seen = ray.nodes(), iter(["one", "two"])

    def died(node):
        gone = hexadecimal(next(seen))
        monkeypatch.setattr(ray, "nodes", lambda: [each for each in alive if each["NodeID"] != gone])
        raise NodeDiedError("it was preempted")

    monkeypatch.setattr(ray, "get", died)
    fetch_models(Judge(model=QWEN), "rating", Execution(gpus=1))
    assert fetched == ["one", "one", "two"]

    def missing(node):
        raise RayTaskError("_fetched", "no such model", OSError())

    monkeypatch.setattr(ray, "get", missing)
    with pytest.raises(RayTaskError):
        fetch_models(Judge(model=QWEN), "rating", Execution(gpus=0))


@pytest.fixture
def late(monkeypatch):
    """A cluster whose nodes with GPUs come when they are asked for: the list of what was requested for them."""
    two = {"NodeID": hexadecimal("two"), "Alive": True, "Resources": {"CPU": 64.0, "GPU": 2.0, "memory": 9e9}}
    nodes, requested = [{"NodeID": hexadecimal("head"), "Alive": True, "Resources": {"CPU": 4.0}}], []

    class Placed:
        def options(self, **resources):
            requested.append(resources)
            return self

        def remote(self):
            return "placed"

    def joins(waiting, timeout):
        assert (waiting, timeout) == (["placed"], 30)
        nodes.append(two)
        return waiting, []

    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    monkeypatch.setattr(fetching, "_placed", Placed())
    monkeypatch.setattr(ray, "wait", joins)
    return requested


@pytest.mark.parametrize(("operator", "nodes"), [(Judge(model=QWEN), ["two"]), (Touchy(), [])])
def test_the_clock_of_a_stall_starts_when_there_is_a_node_and_the_models_were_fetched(
    fetched, late, make_pool, tmp_path, monkeypatch, operator, nodes
):
    profile = Profile(default=Execution(gpus=2, cpus=1, memory=5e9), stall_seconds=30)
    pool, session = make_pool(["a", "b"]), Session(Store(str(tmp_path / "store")), profile)

    class Dealt:
        drawn = frozenset()

        def __init__(self, *_):
            pass

        def summaries(self, *_):
            assert (late, fetched) == ([{"num_cpus": 1, "num_gpus": 2, "memory": 5e9}], nodes)
            yield {"first": 0, "rows": 2, "failed": 0, "example": None}

        def left(self):
            return Runs.of(pool.ids[:0])

    monkeypatch.setattr(stream, "_Dealt", Dealt)
    feature = session.store.feature(operator, "pool")
    assert stream.stream(operator, "rating", feature, pool.parts, Runs.of(pool.ids), 0.0, session) == 0


def test_a_node_that_does_not_come_is_named_by_what_it_should_have(late, monkeypatch, capsys):
    monkeypatch.setattr(ray, "wait", lambda waiting, timeout: ([], waiting))
    with pytest.raises(WinnowError, match="rating: after 30 s no node has the 1 CPUs, 2 GPUs that a worker requests"):
        wait_for_node("rating", Execution(gpus=2, cpus=1), 30)
    assert "waiting for one" in capsys.readouterr().out
    wait_for_node("rating", Execution(gpus=0, cpus=1), 30)
    assert len(late) == 1
