"""The engine in the worker: what it is opened with, and an engine that dies."""

import pytest
import torch

from operators.asking.judge import Judge
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
