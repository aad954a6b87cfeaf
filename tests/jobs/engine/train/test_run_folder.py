"""Training into a URL: each epoch is there when it is whole, and a run that was stopped goes on from what is there."""

import itertools
import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from jobs.engine.store.folder import Folder
from jobs.engine.terminal.errors import WinnowError
from jobs.engine.train.checkpoints import is_whole, write_checkpoint
from jobs.engine.train.train_worker import Training, carry_out
from operators import remote
from operators.checkpoint import Checkpoint
from operators.training.finetune import LoRA
from tests.full_disk import files_up_to
from tests.jobs.pool_runs import TEXTS, declared
from tests.tiny import tiny_causal


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_causal(tmp_path_factory.mktemp("base"))


@pytest.fixture
def place(s3, tmp_path, monkeypatch):
    """A folder at a URL, and an empty cache."""
    monkeypatch.setenv(remote.CACHE, str(tmp_path / "cache"))
    return Folder.at(s3.bucket())


def weights(epoch: str, name: str) -> dict[str, np.ndarray]:
    return load_file(Checkpoint(epoch).folder() / name)


@pytest.mark.parametrize(
    ("lora", "file", "kept"),
    [(LoRA(rank=2, alpha=8), "adapter_model", [True] * 3), (None, "model", [False, False, True])],
)
@pytest.mark.fault(
    "a training is cut off",
    how="the token of the store expires while the third epoch is written",
    holds="whole epochs are kept; the next run ends with the weights of an unharmed one",
)
def test_a_run_that_is_stopped_goes_on_to_the_same_weights(s3, make_pool, base, place, tmp_path, lora, file, kept):
    pool = make_pool(TEXTS[:8])
    trainer = declared(base, epochs=3, lora=lora)
    here = Training(trainer, pool.parts, np.arange(8), str(tmp_path / "here"), 0.0, "cpu", 1, 4096)
    carry_out(here)
    there = Training(trainer, pool.parts, np.arange(8), f"{place}/run", 0.0, "cpu", 1, 4096)

    def expired(method: str, path: str) -> str | None:  # while the third epoch is written, most of which is there then
        return "ExpiredToken" if method == "PUT" and path.endswith("/epoch-3/training.json") else None

    told = rf"The provided token has expired\. Whole epochs are kept in {place}/run"
    with s3.failing(expired), pytest.raises(WinnowError, match=told):
        carry_out(there)
    run = place.inner("run")
    epochs = [run.inner(f"epoch-{number}") for number in (1, 2, 3)]
    assert [is_whole(epoch) for epoch in epochs] == [True, True, False]
    assert epochs[2].exists(f"{file}.safetensors")
    carry_out(there)
    assert [is_whole(epoch) for epoch in epochs] == [True] * 3
    assert [epoch.exists("adam.safetensors") for epoch in epochs] == kept
    assert json.loads(run.content("outcome.json")) == json.loads((tmp_path / "here/outcome.json").read_text())
    assert run.content("losses.jsonl") == (tmp_path / "here/losses.jsonl").read_bytes()
    assert Checkpoint(epochs[-1].url).identity() == Checkpoint(str(tmp_path / "here/epoch-3")).identity()
    for name, values in weights(str(tmp_path / "here/epoch-3"), f"{file}.safetensors").items():
        assert np.array_equal(values, weights(epochs[-1].url, f"{file}.safetensors")[name])
    assert list((tmp_path / "cache/training").iterdir()) == []

    out = place.inner("out")
    write_checkpoint(Checkpoint(epochs[-1].url), out, further={"scorer.json": b"{}"})
    assert not {"adam.safetensors", "outcome.json"} & set(out.names())
    assert {f"{file}.safetensors", "losses.jsonl", "scorer.json"} < set(out.names())
    assert "scorer.json" in {path.name for path in Checkpoint(out.url).folder().iterdir()}


@pytest.mark.parametrize("cut", [1, 2])
def test_a_run_that_was_cut_off_between_an_epoch_and_its_losses_goes_on(s3, make_pool, base, place, cut):
    pool = make_pool(TEXTS[:8])
    asked = Training(declared(base), pool.parts, np.arange(8), f"{place}/run", 0.0, "cpu", 1, 4096)
    written = itertools.count(1)

    def expired(method: str, path: str) -> str | None:
        return "ExpiredToken" if method == "PUT" and path.endswith("/losses.jsonl") and next(written) >= cut else None

    with s3.failing(expired), pytest.raises(WinnowError):
        carry_out(asked)
    carry_out(asked)
    losses = place.inner("run").content("losses.jsonl").splitlines()
    assert [json.loads(line)["step"] for line in losses] == [1, 2]


def test_a_full_disk_of_the_node_is_told_and_the_run_goes_on_afterwards(make_pool, base, place):
    pool = make_pool(TEXTS[:8])
    asked = Training(
        declared(base, epochs=1, warmup=0.0), pool.parts, np.arange(8), f"{place}/run", 0.0, "cpu", 1, 4096
    )
    with files_up_to(3_000), pytest.raises(WinnowError, match=r"(?s)(epoch-1|too large).*the same command goes on"):
        carry_out(asked)
    assert place.names() == []
    carry_out(asked)
    assert is_whole(place.inner("run").inner("epoch-1"))
