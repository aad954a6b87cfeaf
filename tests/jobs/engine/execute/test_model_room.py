"""What a run is refused for before anything is loaded, with a stand-in for NVIDIA's tool and for the cluster's GPUs."""

from dataclasses import replace

import pytest

from jobs.doctor import models_on, recipe
from jobs.engine.execute import model_room
from jobs.engine.execute.model_memory import needed
from jobs.engine.execute.model_room import gpus_here, refuse_without_room
from jobs.engine.execute.profile import Execution, Profile
from jobs.engine.execute.session import Session
from jobs.engine.store.store import Store
from jobs.engine.terminal.errors import UsageError
from jobs.recipes.lobass import LoBaSS
from operators.checkpoint import Checkpoint
from operators.embedding.embed import Embed
from operators.losses.loss import Loss
from operators.training.finetune import Finetune
from tests.tiny import tiny_causal

GIB = 2**30
GPU = Profile(default=Execution(gpus=1), train_gpus=1)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return Checkpoint(str(tiny_causal(tmp_path_factory.mktemp("base"))))


def tool(folder, monkeypatch, script):
    """Puts a tool of NVIDIA's name first on the path."""
    path = folder / "nvidia-smi"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_the_memory_of_gpus_is_what_nvidia_s_tool_says_and_unknown_where_it_fails(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpus_here() == []
    tool(tmp_path, monkeypatch, 'test "$1" = --query-gpu=memory.total && echo 81559 && echo 24576')
    assert gpus_here() == [81559 * 2**20, 24 * GIB]
    tool(tmp_path, monkeypatch, "echo Failed to initialize NVML; exit 9")
    assert gpus_here() == []
    tool(tmp_path, monkeypatch, "echo [N/A]")
    assert gpus_here() == []


@pytest.mark.usefixtures("ray_session")
def test_a_node_that_went_away_says_nothing_about_its_gpus():
    assert model_room._gpus_of(("a" * 56,)) == []


def test_models_without_room_are_refused_together_where_a_worker_has_a_gpu(base, tmp_path, monkeypatch):
    steps = {"loss": Loss(base), "train": Finetune(base), "tokens": "no step"}
    monkeypatch.setattr(model_room, "cluster_gpus", lambda: [1000, 2000])
    with pytest.raises(UsageError) as refused:
        refuse_without_room(steps, Session(Store(str(tmp_path)), GPU))
    lines = str(refused.value).splitlines()
    assert [line.partition(": ")[0] for line in lines] == ["loss", "train"]
    assert all(base.name in line for line in lines)
    monkeypatch.setattr(model_room, "cluster_gpus", lambda: [1000, 80 * GIB])
    refuse_without_room(steps, Session(Store(str(tmp_path)), GPU))
    monkeypatch.setattr(model_room, "cluster_gpus", lambda: pytest.fail("no worker has a GPU"))
    refuse_without_room(steps, Session(Store(str(tmp_path)), Profile()))


def test_maps_and_trainings_are_refused_before_a_worker_starts(base, make_pool, tmp_path, monkeypatch, ray_session):
    monkeypatch.setattr(model_room, "cluster_gpus", lambda: [1000])
    pool = replace(make_pool(["a", "b"]), session=Session(Store(str(tmp_path / "store")), GPU))
    with pytest.raises(UsageError, match=r"loss: .* takes .* before it has a sample"):
        pool.map(loss=Loss(base))
    with pytest.raises(UsageError, match=r"train: .* takes"):
        pool.train(Finetune(base, batch=1, max_tokens=64))
    assert not list((tmp_path / "store").rglob("part-*.parquet"))
    assert not (tmp_path / "store" / "trained").exists()


def test_doctor_says_what_fits_and_what_does_not(base):
    assert list(models_on(GPU, [])) == []
    (_, _, memory), (_, _, models) = models_on(GPU, [80 * GIB, 80 * GIB])
    assert memory == "80 GiB of 2 GPUs"
    assert "judge: 32B" in models
    asked = LoBaSS(train=Finetune(base, lora=None, max_tokens=64))

    def found(card):
        return [(state, said) for _, state, said in recipe("lobass", asked, GPU, [card]) if "takes" in said]

    held = int(needed(Loss(base), GPU).held)
    (good, *_), (tight, *_), (bad, *_) = (found(card) for card in (80 * GIB, held + 1000, 1000))
    assert [state for state, _ in (good, tight, bad)] == ["ok", "note", "missing"]
    assert "80 GiB on each GPU" in good[1]


def test_an_embedder_of_a_package_is_known_without_the_network():
    assert 80 * 2**20 < needed(Embed(), GPU).held < 100 * 2**20
