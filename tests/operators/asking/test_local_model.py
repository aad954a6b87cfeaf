"""The engine in the worker: what it is opened with, and an engine that dies."""

import os

import pytest
import torch

from operators.asking import local_model
from operators.asking.judge import Judge
from operators.asking.local_model import LocalModel
from operators.base import DeviceLost
from operators.checkpoint import Checkpoint
from tests.batches import batch
from tests.operators.asking.engines import EngineDeadError
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
