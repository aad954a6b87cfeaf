"""A language model in this process, by vLLM: one engine over all GPUs of the worker, or on the CPU.

The texts are rendered with the chat template of the checkpoint and passed to the engine as tokens, so their length is
known before. A checkpoint without a chat template (a base model) gets the plain text of the messages.
"""

import copy
import time
from collections.abc import Iterator, Sequence
from math import exp
from pathlib import Path
from typing import Any

from operators.asking.language_model import Answer, AnswerOrError, Manner, Question, Thinking, template_options
from operators.asking.vllm_engine import Engine, sampling
from operators.base import RowError
from operators.models.ahead import ahead
from operators.sample import Message
from operators.supervision.templates import date

PIECE = 256
"""Questions that are written out and tokenized together, on a thread while the engine answers those before them."""

LOT, LOT_SECONDS = 512, 30.0
"""Answers that are returned together, or those of this time. They are stored then, for which the engine waits."""


class LocalModel:
    """A model that vLLM runs in this process."""

    def __init__(self, folder: Path, context: int | None) -> None:
        self.engine = Engine(folder, context)
        self.tokenizer = copy.deepcopy(self.engine.tokenizer)  # the engine uses its own while a thread uses this one
        self.context = self.engine.context
        self.controls = control_strings(self.tokenizer)

    def answers(self, questions: Sequence[Question], manner: Manner) -> Iterator[dict[int, AnswerOrError]]:
        """The answers in groups of about LOT, as they are finished; a group that takes long is smaller, as the last is.

        ValueError where no prompt can fit, DeviceLost where the engine has died.
        """
        labels = label_tokens(self.tokenizer, manner.labels)
        answer_tokens = 1 if labels else manner.max_tokens
        if self.context <= answer_tokens:
            raise ValueError(f"context {self.context} leaves no room for a question before {manner.max_tokens} tokens")
        lot: dict[int, AnswerOrError] = {}
        began = time.monotonic()
        for found in self._answered(questions, manner, labels, answer_tokens):
            lot |= found
            if len(lot) >= LOT or (lot and time.monotonic() > began + LOT_SECONDS):
                yield lot
                lot, began = {}, time.monotonic()
        if lot:
            yield lot

    def _answered(
        self, questions: Sequence[Question], manner: Manner, labels: dict[str, int], answer_tokens: int
    ) -> Iterator[dict[int, AnswerOrError]]:
        """What each step of the engine has answered, and which of the questions before it cannot be asked.

        One piece is added per step: the first step comes early, and what is computed together depends on no clock.
        """
        params = sampling(manner, labels)
        starts = range(0, len(questions), PIECE)
        pieces = ahead(lambda at: self._fitted_all(questions[at : at + PIECE], manner, answer_tokens), starts)
        coming = zip(starts, pieces, strict=True)
        waiting: dict[str, tuple[int, Question]] = {}
        while (piece := next(coming, None)) or waiting:
            if piece:
                start, fitted = piece
                yield {start + at: each for at, each in enumerate(fitted) if isinstance(each, RowError)}
                asked = {start + at: each for at, each in enumerate(fitted) if not isinstance(each, RowError)}
                names = self.engine.add([tokens for _, tokens in asked.values()], params)
                waiting |= {name: (at, asked[at][0]) for name, at in zip(names, asked, strict=True)}
            said = self.engine.step() if waiting else {}
            came = [(*waiting.pop(name), each) for name, each in said.items()]
            yield {at: _answer(each, question, labels) for at, question, each in came}

    def _fitted_all(
        self, questions: Sequence[Question], manner: Manner, answer_tokens: int
    ) -> list[tuple[Question, list[int]] | RowError]:
        """Each question with its tokens, cut to the context, or why it cannot be asked."""
        tokens = self._tokens([self._prompt(question, manner) for question in questions])
        pairs = zip(questions, tokens, strict=True)
        return [self._fitted(question, manner, found, answer_tokens) for question, found in pairs]

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
        space = self.engine.space
        if needed > space:
            return RowError(
                "too_long",
                f"prompt and answer have up to {needed:,} tokens, and there is memory for {space:,}: give a worker "
                "more memory, or set a context, to which longer prompts are cut",
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
    """The prompt by the chat template; where that refuses or drops a system message, it is joined to the user's."""
    from jinja2 import TemplateError

    options = {"add_generation_prompt": True, "tokenize": False, "strftime_now": date, **template_options(thinking)}
    try:
        text = tokenizer.apply_chat_template(messages, **options)
    except TemplateError:
        text = ""
    if text and all(message["content"].strip() in text for message in messages if message["role"] == "system"):
        return text
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


def _answer(said: Any, question: Question, labels: dict[str, int]) -> Answer:
    masses = {label: exp(said.logprobs[0][token].logprob) for label, token in labels.items()}
    return Answer(said.text, said.finish_reason != "length", question.cut, masses)
