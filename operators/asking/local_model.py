"""A language model in this process, by vLLM: one engine over all GPUs of the worker, or on the CPU.

The texts are rendered with the chat template of the checkpoint and passed to the engine as tokens, so their length is
known before. A checkpoint without a chat template (a base model) gets the plain text of the messages.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from operators.asking.language_model import Answer, AnswerOrError, Manner, Question, Thinking, template_options
from operators.asking.orphans import leave_no_orphans
from operators.base import DeviceLost, RowError
from operators.sample import Message

BLOCK = 32
"""Tokens per block of the prefix cache on a CPU: the minimum. The default, 128, exceeds many shared prefixes."""

USABLE = 0.9
"""What vLLM takes of the memory that a process can have, where that is less than the GPU's."""

WHAT_FITS = -1
"""vLLM's word for a max_model_len that is the model's limit, or less where one request of that length has no memory.

Without it, such a model is refused: a request of the 262,144 tokens of Qwen3-4B-2507 needs 39 GB. A limit fitted to the
longest prompt of a batch would leave no more memory for the others, as a request takes blocks of the cache only for the
tokens that it has, and a later batch with a longer prompt would need another engine.
"""


class LocalModel:
    """A vLLM engine, its tokenizer, its context length, and how much of that there is memory for."""

    def __init__(self, folder: Path, context: int | None) -> None:
        self.llm = _engine(folder, context)
        self.tokenizer: Any = self.llm.get_tokenizer()
        config = self.llm.llm_engine.model_config
        self.space = int(config.max_model_len)
        # The model's limit decides what is cut. Were it the space, answers would depend on the memory that was free;
        # so only whether there is an answer depends on it.
        self.context = context or int(config.get_and_verify_max_len(WHAT_FITS))
        self.controls = control_strings(self.tokenizer)

    def answers(self, questions: Sequence[Question], manner: Manner) -> Iterator[dict[int, AnswerOrError]]:
        """All answers in one group, as the engine batches best with all prompts.

        ValueError where no prompt can fit, DeviceLost where the engine has died.
        """
        labels = label_tokens(self.tokenizer, manner.labels)
        answer_tokens = 1 if labels else manner.max_tokens
        if self.context <= answer_tokens:
            raise ValueError(f"context {self.context} leaves no room for a question before {manner.max_tokens} tokens")
        prompts = [self._prompt(question, manner) for question in questions]
        tokens = self._tokens(prompts) if prompts else []
        fitted = [
            self._fitted(question, manner, found, answer_tokens)
            for question, found in zip(questions, tokens, strict=True)
        ]
        lot: dict[int, AnswerOrError] = {at: each for at, each in enumerate(fitted) if isinstance(each, RowError)}
        asked = [(at, *each) for at, each in enumerate(fitted) if not isinstance(each, RowError)]
        inputs = [{"prompt_token_ids": found} for _, _, found in asked]
        replies = self._generated(inputs, sampling(manner, labels)) if inputs else []
        for (at, question, _), reply in zip(asked, replies, strict=True):
            said = reply.outputs[0]
            masses = _masses(said, labels)
            lot[at] = Answer(said.text, said.finish_reason != "length", question.cut, masses)
        yield lot

    def _generated(self, inputs: list[dict[str, list[int]]], params: Any) -> list[Any]:
        """vLLM's outputs in the order of the inputs."""
        import torch
        from vllm.v1.engine.exceptions import EngineDeadError

        # EngineDeadError is that of an engine in processes of its own. In this process the error is the device's, and
        # leaves the requests of the call half computed in the scheduler, also where memory was all that was missing.
        try:
            return self.llm.generate(inputs, params, use_tqdm=False)
        except (EngineDeadError, torch.AcceleratorError, torch.OutOfMemoryError) as error:
            raise DeviceLost(f"vLLM's engine has died: {type(error).__name__}: {error}") from error

    def _tokens(self, texts: list[str]) -> list[list[int]]:
        """The tokens of prompts; a chat template has already written the special tokens."""
        templated = bool(getattr(self.tokenizer, "chat_template", None))
        return self.tokenizer(texts, add_special_tokens=not templated, verbose=False)["input_ids"]

    def _prompt(self, question: Question, manner: Manner) -> str:
        return prompt_text(self.tokenizer, question.render(question.texts, self.controls), manner.thinking)

    def _fitted(
        self, question: Question, manner: Manner, tokens: list[int], answer_tokens: int
    ) -> tuple[Question, list[int]] | RowError:
        """The question, cut where it and the answer exceed the context, and its tokens, or why it cannot be asked."""
        room = self.context - answer_tokens
        while len(tokens) > room:
            longest = next((text for text in question.texts.values() if text), "")
            # By the mean number of characters per token; the next round cuts what is still too long.
            share = (len(tokens) - room) / max(1, len(self.tokenizer.encode(longest, add_special_tokens=False)))
            shorter = question.shorter(max(1, int(share * len(longest))))
            if shorter is None:
                return RowError("too_long", f"the prompt alone has more than {room:,} tokens")
            question = shorter
            (tokens,) = self._tokens([self._prompt(question, manner)])
        needed = len(tokens) + answer_tokens
        if needed > self.space:
            return RowError(
                "too_long",
                f"prompt and answer have up to {needed:,} tokens, and there is memory for {self.space:,}: give a "
                "worker more memory, or set a context, to which longer prompts are cut",
            )
        return question, tokens


def control_strings(tokenizer: Any) -> list[str]:
    """The special tokens of the tokenizer as text, those of one character left out."""
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    strings = {*tokenizer.all_special_tokens, *(str(each) for each in added if each.special)}
    return sorted(each for each in strings if len(each.strip()) > 1)


def prompt_text(tokenizer: Any, messages: list[Message], thinking: Thinking = "off") -> str:
    """The text of a prompt, up to the beginning of the answer."""
    if getattr(tokenizer, "chat_template", None):
        return rendered(tokenizer, messages, thinking)
    return "\n\n".join(message["content"] for message in messages) + "\n"


def rendered(tokenizer: Any, messages: list[Message], thinking: Thinking) -> str:
    """The prompt by the chat template; where that refuses a system message, it is joined to the user's."""
    from jinja2 import TemplateError

    options = {"add_generation_prompt": True, "tokenize": False, **template_options(thinking)}
    try:
        return tokenizer.apply_chat_template(messages, **options)
    except TemplateError:
        together = "\n\n".join(message["content"] for message in messages)
        return tokenizer.apply_chat_template([{"role": "user", "content": together}], **options)


def label_tokens(tokenizer: Any, labels: Sequence[str]) -> dict[str, int]:
    """The token id of each label; ValueError for a label that is not a single token."""
    found = {label: tokenizer.encode(label, add_special_tokens=False) for label in labels}
    for label, tokens in found.items():
        if len(tokens) != 1:
            raise ValueError(
                f"the label {label!r} is {len(tokens)} tokens for this tokenizer, not one, so that its probability "
                "cannot be read from one token; read the score from the reply's text instead"
            )
    return {label: tokens[0] for label, tokens in found.items()}


def _engine(folder: Path, context: int | None) -> Any:
    import torch

    gpus = torch.cuda.device_count()
    if gpus > 1:
        leave_no_orphans()
    else:
        # The engine in this process, so that none holds the GPU where this process was killed. Scheduling then shares
        # a thread with what reads the replies, and no outputs are pickled and sent between processes.
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    if not gpus:  # no compilation, which takes minutes
        os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    from vllm import LLM

    options: dict[str, Any] = {"enable_prefix_caching": True, "disable_log_stats": True}
    options["max_model_len"] = WHAT_FITS if context is None else context
    # CUDA is in use already where this process was bound to a share of the GPU.
    if gpus == 1 and torch.cuda.is_initialized() and (share := torch.cuda.get_per_process_memory_fraction()) < 1:
        options["gpu_memory_utilization"] = USABLE * share
    if gpus:
        return LLM(model=str(folder), tensor_parallel_size=gpus, **options)
    return LLM(model=str(folder), dtype="float32", enforce_eager=True, block_size=BLOCK, **options)


def sampling(manner: Manner, labels: dict[str, int]) -> Any:
    """vLLM's SamplingParams for a manner; labels: the token ids whose probability is wanted."""
    from vllm import SamplingParams
    from vllm.sampling_params import StructuredOutputsParams

    drawn: dict[str, Any] = {"temperature": manner.temperature, "seed": manner.seed if manner.temperature else None}
    if labels:
        return SamplingParams(max_tokens=1, logprob_token_ids=list(labels.values()), **drawn)
    bound = StructuredOutputsParams(json=dict(manner.schema)) if manner.schema else None
    return SamplingParams(max_tokens=manner.max_tokens, structured_outputs=bound, **drawn)


def _masses(said: Any, labels: dict[str, int]) -> dict[str, float]:
    from math import exp

    return {label: exp(said.logprobs[0][token].logprob) for label, token in labels.items()}
