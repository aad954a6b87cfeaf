"""The engine in the worker: what it is opened with, and an engine that dies."""

import os

import pytest
import torch

from operators.asking import local_model
from operators.asking.judge import Judge
from operators.asking.local_model import LocalModel
from operators.base import DeviceLost, RowError
from operators.checkpoint import Checkpoint
from tests.batches import batch
from tests.operators.asking.engines import LIMIT, EngineDeadError
from tests.operators.asking.engines import engine as engine  # a fixture
from tests.tiny import tiny_causal


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_causal(tmp_path_factory.mktemp("judge"))


@pytest.mark.parametrize(
    "error",
    [EngineDeadError("see above"), torch.AcceleratorError("CUDA error: 700"), torch.OutOfMemoryError("2 GiB")],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.fault(
    "a language model's engine dies",
    how="a stand-in raises what vLLM raises when its engine is dead",
    holds="the worker ends and is replaced; no sample is blamed",
)
def test_an_engine_that_died_is_no_row_s_error(engine, folder, error):
    engine.error = error
    compute = Judge(model=Checkpoint(str(folder))).load()
    with pytest.raises(DeviceLost, match=type(error).__name__):
        list(compute(batch([("a", "b"), ("c", "d")])))


def test_another_error_of_the_engine_stays_what_it_is(engine, folder):
    engine.error = ValueError("no such parameter")
    compute = Judge(model=Checkpoint(str(folder))).load()
    with pytest.raises(ValueError, match="no such parameter"):
        list(compute(batch([("a", "b")])))


@pytest.mark.parametrize(("gpus", "own_process", "watched"), [(0, "0", 0), (1, "0", 0), (2, None, 1)])
def test_an_engine_is_in_this_process_or_watched(engine, folder, monkeypatch, gpus, own_process, watched):
    calls = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(local_model, "leave_no_orphans", lambda: calls.append(len(engine.made)))
    LocalModel(folder, None)
    assert os.environ.get("VLLM_ENABLE_V1_MULTIPROCESSING") == own_process
    assert calls == [0] * watched  # before the engine is made
    assert engine.made[0].get("tensor_parallel_size", 0) == gpus


def test_an_engine_takes_its_process_s_share_of_a_gpu(engine, folder, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for share, taken in ((0.5, 0.45), (1.0, None)):
        monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
        monkeypatch.setattr(torch.cuda, "get_per_process_memory_fraction", lambda share=share: share)
        LocalModel(folder, None)
        assert engine.made[-1].get("gpu_memory_utilization") == taken


def test_a_context_that_has_no_memory_is_fitted_and_only_what_it_holds_is_answered(engine, folder):
    texts = [("a", "b"), ("c", "x" * 3000), ("d", "e")]
    free, full = answered(engine, folder, LIMIT, texts), answered(engine, folder, 2000, texts)
    assert [each["reply"] for each in free] == ["4", "4", "4"]
    assert full[0] == free[0]
    assert full[2] == free[2]
    assert isinstance(full[1], RowError)
    assert full[1].kind == "too_long"
    assert "there is memory for 2,000" in full[1].message


def test_what_is_cut_is_what_exceeds_the_model_s_limit_however_much_memory_there_is(engine, folder):
    texts = [("a", "b"), ("c", "x" * 3 * LIMIT)]
    free, full = answered(engine, folder, LIMIT, texts), answered(engine, folder, LIMIT - 1, texts)
    assert [each["cut"] for each in free] == [False, True]
    assert full[0] == free[0]
    assert isinstance(full[1], RowError)  # not a value of a shorter cut


def test_a_context_that_was_asked_for_is_not_fitted(engine, folder):
    engine.fits = 1000
    LocalModel(folder, 1000)
    with pytest.raises(ValueError, match="does not fit"):
        LocalModel(folder, 1001)


def answered(engine, folder, fits: int, texts) -> list:
    """The values of a judge whose engine has memory for that many tokens."""
    engine.fits = fits
    found = {}
    for lot in Judge(model=Checkpoint(str(folder))).load()(batch(texts)):
        found |= lot
    return [found[at] for at in range(len(texts))]
