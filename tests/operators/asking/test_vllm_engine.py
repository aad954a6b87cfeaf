"""vLLM's engine: what it is opened with, given the GPUs of the process and what is free on them."""

import os
import threading

import pytest
import torch

from operators.asking import vllm_engine
from operators.asking.vllm_engine import Engine
from operators.base import DeviceLost
from tests.operators.asking.engines import engine as engine  # a fixture
from tests.tiny import tiny_causal


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_causal(tmp_path_factory.mktemp("judge"))


@pytest.fixture
def gpus(monkeypatch):
    """A function that pretends so many GPUs, with a share of each for this process, and so much that is free."""

    def pretend(count: int, share: float = 1.0, free: float = 1.0) -> None:
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "get_per_process_memory_fraction", lambda: share)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (int(free * 1000), 1000))

    return pretend


@pytest.mark.parametrize(("count", "watched"), [(0, 0), (1, 0), (2, 1)])
def test_an_engine_is_in_this_process_and_those_of_its_gpus_are_watched(
    engine, folder, gpus, monkeypatch, count, watched
):
    gpus(count)
    calls = []
    monkeypatch.setattr(vllm_engine, "leave_no_orphans", lambda: calls.append(len(engine.made)))
    Engine(folder, None)
    assert os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"
    assert calls == [0] * watched  # before the engine is made
    assert engine.made[0].get("tensor_parallel_size", 0) == (count if watched else 0)
    assert engine.made[0].get("distributed_executor_backend") == ("mp" if watched else None)
    assert os.environ["VLLM_NO_USAGE_STATS"] == "1"


@pytest.mark.parametrize(("share", "free", "taken"), [(1.0, 1.0, 0.9), (0.5, 0.96, 0.45), (1.0, 0.6, 0.54)])
def test_an_engine_takes_of_a_gpu_what_its_process_may_have_and_is_free(engine, folder, gpus, share, free, taken):
    gpus(1, share, free)
    Engine(folder, None)
    assert engine.made[0]["gpu_memory_utilization"] == pytest.approx(taken)


@pytest.mark.parametrize(("share", "at_once"), [(0.5, 1), (1.0, 2)])
def test_engines_that_share_a_gpu_are_opened_one_after_another(engine, folder, gpus, monkeypatch, share, at_once):
    gpus(1, share)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", f"GPU-{os.getpid()}/0")
    opening, most, together = [], [], threading.Event()
    plain = engine.__init__

    def slow(self, **options):
        opening.append(self)
        most.append(len(opening))
        if len(opening) == 2:
            together.set()
        together.wait(0.3 if at_once == 1 else 20)
        opening.remove(self)
        plain(self, **options)

    monkeypatch.setattr(engine, "__init__", slow)
    threads = [threading.Thread(target=Engine, args=(folder, None)) for _ in range(2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(engine.made) == 2
    assert max(most) == at_once


def test_any_error_of_an_engine_with_processes_is_that_of_a_process(engine, folder, gpus, monkeypatch):
    monkeypatch.setattr(vllm_engine, "leave_no_orphans", lambda: None)
    gpus(2)
    opened = Engine(folder, None)
    for engine.error in (RuntimeError("cancelled"), AssertionError(), TimeoutError("RPC call timed out")):
        with pytest.raises(DeviceLost, match=type(engine.error).__name__):
            opened.step()


def test_a_worker_without_a_gpu_says_what_to_do_where_vllm_needs_one(engine, folder, gpus):
    gpus(0)
    engine.for_cpus = False
    with pytest.raises(ValueError, match=r"the worker has no GPU.*--profile gpu.*extra cpu"):
        Engine(folder, None)
    assert not engine.made


def test_logits_are_float32_on_a_gpu_where_vllm_can(engine, folder, gpus, tmp_path, monkeypatch):
    gpus(1)
    Engine(folder, None)
    assert engine.made[0]["hf_overrides"] == {"head_dtype": "float32"}
    monkeypatch.setenv("VLLM_BATCH_INVARIANT", "1")
    assert vllm_engine.float32_head(folder) == {}
    monkeypatch.delenv("VLLM_BATCH_INVARIANT")
    for stored in ('{"text_config": {"quantization_config": {"quant_method": "gptq"}}}',
                   '{"compression_config": {"quant_method": "compressed-tensors"}}'):  # fmt: skip
        (tmp_path / "config.json").write_text(stored)
        assert vllm_engine.float32_head(tmp_path) == {}
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "hf_quant_config.json").write_text("{}")
    assert vllm_engine.float32_head(tmp_path) == {}
