"""The digit judge of benchmarks.gpu, with vLLM, against one forward pass a prompt."""

import gc
import os
from pathlib import Path

import torch

from benchmarks._gpu_models import Sizes, least_seconds, made_batch, weights
from benchmarks._roofline import Roofline, line, seconds
from operators.asking.judge import Judge
from operators.asking.local_model import control_strings, prompt_text
from operators.checkpoint import Checkpoint
from operators.models.loading import placed_model

FEW = 16  # prompts of the naive form that are timed
WARM = 16  # other samples that are rated first


def judge_line(roofline: Roofline, sizes: Sizes, checkpoint: Checkpoint) -> dict:
    """Judge's expectation over the digits; the rubric, which all prompts share, is computed once."""
    from transformers import AutoTokenizer

    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    made = made_batch(sizes.samples + WARM, sizes.words)
    batch, others = made.slice(0, sizes.samples), made.slice(sizes.samples)
    judge = Judge(model=checkpoint, form="expectation", lowest=1, context=2048)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint.folder())
    prompts = []
    for messages in batch["messages"].to_pylist():
        question = judge.question({"messages": messages, "raw": b""})
        prompts.append(prompt_text(tokenizer, question.render(question.texts, control_strings(tokenizer))))
    rows = tokenizer(prompts, add_special_tokens=False)["input_ids"]
    slow, linear = _naive(checkpoint, rows, roofline)
    if roofline.device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()  # for the engine, which takes what is free
    rate = judge.load()
    list(rate(others))  # not samples of the batch: their prompts would be in the engine's cache
    ours = seconds(lambda: list(rate(batch)), roofline.device)
    tokens = sum(map(len, rows))
    shared = next(at for at, column in enumerate(zip(*rows, strict=False)) if len(set(column)) > 1)
    least = least_seconds(roofline, 2 * linear * (tokens - shared * (len(rows) - 1)))
    facts = {"prompt_tokens": round(tokens / len(rows)), "shared_tokens": shared}
    return line(roofline, "judge", len(rows), ours, slow, least, **facts)


def _naive(checkpoint: Checkpoint, rows: list[list[int]], roofline: Roofline) -> tuple[float, int]:
    """The seconds of one forward pass a prompt, and the number of weights that multiply every token."""
    from transformers import AutoModelForCausalLM

    model = placed_model(Path(checkpoint.folder()), AutoModelForCausalLM, "auto")

    @torch.inference_mode()
    def naive() -> None:
        for row in rows[:FEW]:
            model(input_ids=torch.tensor([row], device=roofline.device), logits_to_keep=1).logits[0, -1].cpu()

    naive()
    return seconds(naive, roofline.device) * len(rows) / len(rows[:FEW]), weights(model)
