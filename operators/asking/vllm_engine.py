"""vLLM's engine: one over all GPUs of this process, or on the CPU where it has none.

engine = Engine(folder, context=None)
names = engine.add([[1, 5, 9]], sampling(manner, labels={}))
while waiting: answered = engine.step()       # of the prompts that were added; more may be added in between
"""

import json
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from operators.asking.language_model import Manner
from operators.asking.orphans import leave_no_orphans
from operators.base import DeviceLost
from operators.quantised import quantised_by

BLOCK = 32
"""Tokens per block of the prefix cache on a CPU: the minimum. The default, 128, exceeds many shared prefixes."""

USABLE = 0.9
"""The part that vLLM takes of the memory that a process can have on a GPU."""

WHAT_FITS = -1
"""vLLM's word for a max_model_len that is the model's limit, or less where one request of that length has no memory.

Without it, such a model is refused: a request of the 262,144 tokens of Qwen3-4B-2507 needs 39 GB. A limit fitted to the
longest prompt of a batch would leave no more memory for the others, as a request takes blocks of the cache only for the
tokens that it has, and a later batch with a longer prompt would need another engine.
"""

FULL = ("out of memory", "ALLOC_FAILED")
"""Words in the errors of CUDA's libraries where memory was missing."""


class Engine:
    """The engine of a checkpoint, its tokenizer, its context length, and how much of that there is memory for."""

    def __init__(self, folder: Path, context: int | None) -> None:
        import torch

        gpus = torch.cuda.device_count()
        self.llm = _opened(folder, context, gpus)
        self.processes = gpus > 1
        self.tokenizer: Any = self.llm.get_tokenizer()
        config = self.llm.llm_engine.model_config
        self.space = int(config.max_model_len)
        # The model's limit decides what is cut. Were it the space, answers would depend on the memory that was free;
        # so only whether there is an answer depends on it.
        self.context = context or int(config.get_and_verify_max_len(WHAT_FITS))

    def add(self, prompts: Sequence[list[int]], params: Any) -> list[str]:
        """Takes prompts in, as tokens, and returns the name of each."""
        if not prompts:
            return []
        added = self.llm.enqueue([{"prompt_token_ids": each} for each in prompts], params, use_tqdm=False)
        return [name.partition("-")[0] for name in added]  # vLLM appends random characters, which no reply has

    def step(self) -> dict[str, Any]:
        """Computes some tokens; returns vLLM's output by the name of the prompt, for those that are finished.

        DeviceLost where the engine is of no more use: its device failed, or one of its processes, each of which has a
        GPU where there are several.
        """
        try:
            outputs = self.llm.llm_engine.step()
        except Exception as error:
            if self.processes or _of_the_device(error):
                raise DeviceLost(f"vLLM's engine has died: {type(error).__name__}: {error}") from error
            raise
        return {each.request_id: each.outputs[0] for each in outputs if each.finished}


def sampling(manner: Manner, labels: dict[str, int]) -> Any:
    """vLLM's SamplingParams for a manner; labels: the token ids whose probability is wanted."""
    from vllm import SamplingParams
    from vllm.sampling_params import StructuredOutputsParams

    drawn: dict[str, Any] = {"temperature": manner.temperature, "seed": manner.seed if manner.temperature else None}
    if labels:
        return SamplingParams(max_tokens=1, logprob_token_ids=list(labels.values()), **drawn)
    bound = StructuredOutputsParams(json=dict(manner.schema)) if manner.schema else None
    return SamplingParams(max_tokens=manner.max_tokens, structured_outputs=bound, **drawn)


def _of_the_device(error: Exception) -> bool:
    """Whether a step failed for its device: requests are then half computed, also where only memory was missing."""
    import torch
    from vllm.v1.engine.exceptions import EngineDeadError

    known = isinstance(error, EngineDeadError | torch.AcceleratorError | torch.OutOfMemoryError)
    return known or (isinstance(error, RuntimeError) and any(words in str(error) for words in FULL))


def _opened(folder: Path, context: int | None, gpus: int) -> Any:
    """A vllm.LLM; ValueError where vLLM is built for GPUs and this process has none."""
    # The engine in this process, so that none holds a GPU where this process was killed. An engine in a process of its
    # own that is killed, as where the node's memory is full, leaves this one waiting for ever. Several GPUs still have
    # a process each.
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    if gpus > 1:
        leave_no_orphans()
    if not gpus:  # no compilation, which takes minutes
        os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")  # else vLLM reports model and machine to its authors
    from vllm import LLM
    from vllm.platforms import current_platform

    options: dict[str, Any] = {"model": str(folder), "enable_prefix_caching": True, "disable_log_stats": True}
    options["max_model_len"] = WHAT_FITS if context is None else context
    if not gpus:
        if not current_platform.is_cpu():
            raise ValueError(
                "the worker has no GPU, and the vLLM that is installed needs one: take a profile that gives it one, "
                "such as --profile gpu, ask a server (endpoint=URL), or install Winnow's extra cpu"
            )
        return LLM(**options, dtype="float32", enforce_eager=True, block_size=BLOCK)
    options["hf_overrides"] = float32_head(folder)
    if gpus > 1:  # by processes, not by Ray, whose workers the watcher does not see
        options |= {"tensor_parallel_size": gpus, "distributed_executor_backend": "mp"}
        return LLM(**options, gpu_memory_utilization=USABLE)
    import torch

    share = torch.cuda.get_per_process_memory_fraction()
    with _alone_on_the_gpu(share):
        free, total = torch.cuda.mem_get_info()
        return LLM(**options, gpu_memory_utilization=USABLE * min(share, free / total))


def float32_head(folder: Path) -> dict[str, str]:
    """vLLM's overrides by which the logits are float32, whatever the model's own type is.

    In bfloat16 a logit between 8 and 32 has steps of 0.06 to 0.125, and the mean of a judge's digits such steps as
    well. Empty for a quantised model, whose head may be quantised too: vLLM then refuses the option. Empty also where
    its VLLM_BATCH_INVARIANT is set, as the product that it takes for float32 is not one of the invariant ones.
    """
    quantised = quantised_by(json.loads((folder / "config.json").read_text(encoding="utf-8"))) is not None
    beside = any((folder / name).exists() for name in ("quantize_config.json", "hf_quant_config.json"))
    invariant = os.environ.get("VLLM_BATCH_INVARIANT") == "1"
    return {} if quantised or beside or invariant else {"head_dtype": "float32"}


@contextmanager
def _alone_on_the_gpu(share: float) -> Iterator[None]:
    """While the block runs, no other worker with a share of this GPU opens an engine on it.

    vLLM takes what is missing of the GPU's memory after it has loaded the model for its own. Were another engine loaded
    meanwhile, it would find too little left for its cache, and it fails where memory was given back.
    """
    if share == 1:
        yield
        return
    import fcntl

    gpu = re.sub(r"\W", "-", os.environ.get("CUDA_VISIBLE_DEVICES", ""))
    with open(Path(tempfile.gettempdir()) / f"winnow-{os.getuid()}-gpu-{gpu}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)  # a process that the engine started may have the file open, too
