"""A stand-in for vLLM, whose engine knows how much fits its memory and answers every prompt with a 4."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest

from operators.models import loading

LIMIT = 4096
"""The maximum number of tokens of the stand-in's model."""


class EngineDeadError(Exception):
    """As vLLM's."""


class Engine:
    """An `LLM`; the tests set what fits its memory, the error that it raises, and whether it is built for CPUs.

    A step finishes the last `finished` prompts that wait.
    """

    fits = LIMIT
    finished = 1000
    says = staticmethod(lambda tokens: "4")
    """The reply to a prompt."""
    error: Exception | None = None
    for_cpus = True
    made: ClassVar[list[dict[str, Any]]] = []

    def __init__(self, model: str, max_model_len: int | None, **options: Any) -> None:
        self.made.append({"max_model_len": max_model_len, **options})
        wanted = LIMIT if max_model_len in (None, -1) else max_model_len
        if max_model_len != -1 and wanted > self.fits:
            raise ValueError(f"the cache of a request of {wanted} tokens does not fit")
        self.config = SimpleNamespace(max_model_len=min(wanted, self.fits), get_and_verify_max_len=lambda _: LIMIT)
        self.llm_engine = SimpleNamespace(model_config=self.config, step=self.step)
        self.tokenizer = loading.fast_tokenizer(Path(model))
        self.asked: list[int] = []
        """The tokens of each prompt."""
        self.begun: list[int] = []
        """The number of prompts that had come before each step."""
        self.waiting: dict[str, Any] = {}

    def get_tokenizer(self) -> Any:
        return self.tokenizer

    def enqueue(self, prompts: list[dict[str, list[int]]], params: Any, use_tqdm: bool) -> list[str]:
        names = [str(len(self.asked) + at) for at in range(len(prompts))]
        self.asked += [len(each["prompt_token_ids"]) for each in prompts]
        assert all(length + params.max_tokens <= self.config.max_model_len for length in self.asked)
        self.waiting |= {name: (each, params) for name, each in zip(names, prompts, strict=True)}
        return [f"{name}-0a1b2c3d" for name in names]

    def step(self) -> list[Any]:
        if self.error:
            raise self.error
        self.begun.append(len(self.asked))
        done = [self.waiting.popitem() for _ in range(min(self.finished, len(self.waiting)))]
        still = [SimpleNamespace(request_id=name, finished=False, outputs=[]) for name in self.waiting]
        return [*still, *(self.reply(name, *asked) for name, asked in done)]

    def reply(self, name: str, prompt: dict[str, list[int]], params: Any) -> Any:
        labels = getattr(params, "logprob_token_ids", [])
        logprobs = [{token: SimpleNamespace(logprob=-1.0) for token in labels}]
        said = SimpleNamespace(text=self.says(prompt["prompt_token_ids"]), finish_reason="stop", logprobs=logprobs)
        return SimpleNamespace(request_id=name, finished=True, outputs=[said])


@pytest.fixture
def engine(monkeypatch):
    """The class of the engines that are made, in place of vLLM's."""
    made = type("Engine", (Engine,), {"made": []})
    parts = {
        "vllm": {"LLM": made, "SamplingParams": SimpleNamespace},
        "vllm.platforms": {"current_platform": SimpleNamespace(is_cpu=lambda: made.for_cpus)},
        "vllm.sampling_params": {"StructuredOutputsParams": SimpleNamespace},
        "vllm.v1": {},
        "vllm.v1.engine": {},
        "vllm.v1.engine.exceptions": {"EngineDeadError": EngineDeadError},
    }
    for name, content in parts.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    for name in ("VLLM_ENABLE_V1_MULTIPROCESSING", "TORCHDYNAMO_DISABLE", "VLLM_LOGGING_LEVEL", "VLLM_NO_USAGE_STATS"):
        monkeypatch.setenv(name, "")  # so that what is set is taken back
        monkeypatch.delenv(name)
    return made
