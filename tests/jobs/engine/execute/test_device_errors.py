"""Errors of a device, with stand-ins for those of torch and vLLM: what becomes of the rows and of the worker."""

import os
import re
import subprocess
import sys
from socket import gethostname

import numpy as np
import psutil
import pyarrow as pa
import pytest
import ray

from jobs.engine.execute import loads, map_worker
from jobs.engine.execute.columns import computed
from jobs.engine.execute.device_errors import device_lost, out_of_memory
from jobs.engine.execute.loads import MOST, LoadFailed, Loads
from jobs.engine.execute.map_worker import Attempts, Worker
from jobs.engine.store.store import Store
from tests.batches import batch
from tests.standins import Accelerated, AcceleratorError, Touchy


class OutOfMemoryError(RuntimeError):
    """As torch raises it."""


class EngineDeadError(Exception):
    """As vLLM raises it."""


def wrapped(error: Exception) -> Exception:
    """Another error, raised while this one was handled."""
    try:
        try:
            raise error
        except Exception as found:
            raise ValueError("the model failed") from found
    except ValueError as outer:
        return outer


ILLEGAL = "CUDA error: an illegal memory access was encountered"


@pytest.mark.parametrize(
    ("error", "lost", "full"),
    [
        (AcceleratorError(ILLEGAL), True, False),
        (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx`"), True, False),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), True, False),
        (EngineDeadError("EngineCore encountered an issue."), True, False),
        (wrapped(AcceleratorError(ILLEGAL)), True, False),
        (OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), False, True),
        (AcceleratorError("CUDA error: out of memory"), False, True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), False, True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False, False),
        (ValueError("a sample about a CUDA error"), False, False),
    ],
)
def test_errors_of_a_device_are_known_by_name_and_message(error, lost, full):
    assert (device_lost(error), out_of_memory(error)) == (lost, full)


def rows(count: int) -> pa.Table:
    return pa.table({"id": range(count)})


def test_an_error_of_the_device_is_no_row_s_error():
    def compute(batch):
        raise AcceleratorError(ILLEGAL)

    with pytest.raises(AcceleratorError):
        computed(compute, rows(4))


@pytest.mark.fault(
    "a GPU is out of memory",
    how="a stand-in raises torch's OutOfMemoryError for batches above two samples",
    holds="batches are halved; only a sample that does not fit alone has an error",
)
def test_memory_that_is_full_is_the_error_of_a_row_only_if_the_row_alone_does_not_fit():
    asked, leftovers = [], [True]

    def compute(batch):
        ids = batch["id"].to_pylist()
        asked.append(len(ids))
        if len(ids) > 2 or 5 in ids or (ids == [3] and leftovers):
            leftovers.clear() if ids == [3] else None
            raise OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")
        if ids == [2, 3]:
            raise OutOfMemoryError("CUDA out of memory.")
        return np.array(ids, float)

    values, errors = computed(compute, rows(8))
    assert pa.concat_arrays([each.cast(pa.float64()) for each in values]).to_pylist() == [0, 1, 2, 3, 4, None, 6, 7]
    assert {at: error for at, error in enumerate(errors) if error} == {
        5: "OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."
    }
    assert asked[0] == 8


class Ended(BaseException):
    """The process of a worker ended."""


def test_a_worker_that_lost_its_device_ends_and_only_the_row_that_did_it_is_quarantined(tmp_path, monkeypatch):
    def end():
        raise Ended

    monkeypatch.setattr(map_worker, "end_process", end)
    monkeypatch.setattr(ray, "get_gpu_ids", lambda: ["0"])
    feature, attempts = Store(str(tmp_path)).feature(Accelerated(), "pool"), Attempts(str(tmp_path / "attempts"))
    samples = batch([(f"word{at}", "yes") if at != 13 else ("break", "yes") for at in range(40)])
    (tmp_path / "attempts").mkdir()
    ended, summary = 0, None
    while summary is None:
        try:
            summary = Worker(Accelerated(), feature, attempts)(samples)  # as Ray does: a new process, the same batch
        except Ended:
            ended += 1
    assert summary["failed"].to_pylist() == [1]
    assert dict(feature.errors()) == {
        13: f"worker_death: ended 2 workers, the last by AcceleratorError: {ILLEGAL}",
    }
    assert ended == 4  # of the batch, of a piece of three rows, and twice of the row
    values = feature.values(np.delete(np.arange(40), 13), "")
    assert values.tolist() == [5.0] * 10 + [6.0] * 29
    assert [each.name for each in (tmp_path / "attempts").iterdir()] == ["here.load"]


def test_a_worker_that_loses_its_device_while_it_loads_ends_until_too_many_have(tmp_path, monkeypatch):
    def end():
        raise Ended

    monkeypatch.setattr(loads, "end_process", end)
    monkeypatch.setattr(ray, "get_gpu_ids", lambda: ["0"])
    operator, feature = Accelerated(loads=str(tmp_path / "loads"), lost=9), Store(str(tmp_path)).feature(Touchy(), "p")
    (tmp_path / "attempts").mkdir()
    for _ in range(2):
        with pytest.raises(Ended):
            Worker(operator, feature, Attempts(str(tmp_path / "attempts")))
    third = Worker(operator, feature, Attempts(str(tmp_path / "attempts")))
    with pytest.raises(LoadFailed, match=r"illegal memory access(?s:.*)the last of 3 processes"):
        third(batch())


def test_a_worker_that_was_killed_each_time_it_loaded_does_not_load_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(ray, "get_gpu_ids", lambda: ["0"])
    attempts, feature = Attempts(str(tmp_path / "attempts")), Store(str(tmp_path)).feature(Touchy(), "p")
    noted = Loads(attempts.folder)
    (tmp_path / "attempts").mkdir()
    assert "no worker of size has started" in noted.stall("size")
    for killed in range(MOST - 1):
        assert noted.begin() == killed
    assert "1 workers began to load the operator size, 4 times altogether, and none has" in noted.stall("size")
    assert Worker(Touchy(), feature, attempts)(batch())["failed"].to_pylist() == [0]
    assert "the operator size is stuck" in noted.stall("size")
    for killed in range(MOST):  # since the load that ended
        assert noted.begin() == killed
    with pytest.raises(LoadFailed, match=r"Touchy could not be loaded: 5 processes of one worker ended"):
        Worker(Touchy(), feature, attempts)(batch())


@pytest.mark.parametrize(
    ("message", "where"),
    [
        ("Engine core initialization failed. See root cause above. Failed core proc(s): {}", "/proc/self/fd/2"),
        ("CUDA error: out of memory", "too small"),
    ],
)
def test_a_load_that_failed_says_where_and_where_an_engine_printed_why(tmp_path, monkeypatch, message, where):
    monkeypatch.setattr(ray, "get_gpu_ids", lambda: ["0"])
    operator = Accelerated(message=message, loads=str(tmp_path / "loads"), lost=1)
    worker = Worker(operator, Store(str(tmp_path)).feature(operator, "p"), Attempts(str(tmp_path)))
    told = os.readlink(where) if os.path.exists(where) else where
    with pytest.raises(LoadFailed, match=f"{re.escape(message)}.*") as failed:
        worker(batch())
    assert told in str(failed.value)
    assert gethostname() in str(failed.value)


def test_the_children_of_a_worker_that_ends_end_with_it():
    child = "import time; time.sleep(600)"
    parent = (
        "import subprocess, sys\n"
        "from jobs.engine.execute.device_errors import end_process\n"
        f"print(subprocess.Popen([sys.executable, '-c', {child!r}]).pid, flush=True)\n"
        "end_process()"
    )
    done = subprocess.run([sys.executable, "-c", parent], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1, done.stderr
    assert not psutil.pid_exists(int(done.stdout))
