"""The reward of a sample's last answer by a reward model.

    Reward()                                                         # OpenAssistant's DeBERTa, which MoDS uses
    Reward(model=Checkpoint("/models/skywork"), pair="chat", precision="bfloat16")

A reward model is a sequence classifier with one logit. The logit is the reward, without a sigmoid; higher is better
(Du et al., MoDS, arXiv 2311.15653, and its released quality evaluation). The rewards of two models are on two scales,
so a threshold belongs to one model.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field
from pydantic.dataclasses import dataclass

from operators import sample
from operators.base import STRICT, Compute, Operator, RowError
from operators.checkpoint import Checkpoint
from operators.models.precision import Precision
from operators.positions import refuse_too_many
from operators.sample import Message
from operators.supervision.templates import conversation, date
from operators.unknown import UNREADABLE, refuse_unreadable

if TYPE_CHECKING:
    from operators.scoring.windows import Tokens, Window

Pair = tuple[Sequence[Message], str]
"""The messages before an answer, and the answer."""


@dataclass(frozen=True, config=STRICT)
class Reward(Operator):
    """The reward of a sample's last assistant message, given the messages before it."""

    version: ClassVar[int] = 2

    gives: ClassVar[pa.DataType | None] = pa.struct([("reward", pa.float64()), ("truncated", pa.bool_())])

    model: Checkpoint = Checkpoint("OpenAssistant/reward-model-deberta-v3-large-v2")
    pair: Literal["segments", "chat"] = "segments"
    """segments: question and answer as the tokenizer's two segments; chat: by the checkpoint's chat template."""
    max_tokens: Annotated[int, Field(ge=1)] | None = 2048
    """The maximum number of tokens of an input; the answer is cut to fit. None: the positions of the model, if it has
    such a bound."""
    precision: Precision = "float32"
    """auto: bfloat16 on a GPU that multiplies it, float32 elsewhere."""

    def check(self) -> None:
        """ModelMissing where the checkpoint is not there; ValueError where it has fewer positions than max_tokens."""
        self.model.check()
        refuse_too_many(self.model, self.max_tokens)

    def advice(self, kind: str, column: str) -> str:
        """Names a model that reads many languages, where this one cannot read the texts."""
        if kind != UNREADABLE:
            return ""
        return (
            "a reward model made of a multilingual language model reads them, such as Skywork's of Qwen3: set "
            f"{column}.model.name=Skywork/Skywork-Reward-V2-Qwen3-0.6B {column}.pair=chat"
        )

    def load(self) -> Compute:
        """A function from a batch to {"reward": float, "truncated": bool} or a RowError, per row.

        The kinds of error are no_answer (no assistant message), no_question, too_long (there is no room for the
        answer), chat_template (it refuses the messages), unreadable (question and answer, or the answer alone;
        operators/unknown.py), no_score (the logit is not a number) and out_of_memory (the input by itself is too long
        for the GPU). An empty answer has a reward. ValueError where the model has more than one logit, lacks the chat
        template that pair="chat" needs, or has fewer positions than max_tokens.
        """
        from transformers import AutoConfig, AutoModelForSequenceClassification

        from operators.models import loading
        from operators.models.ahead import overlapped
        from operators.models.tokenized import values_of
        from operators.scoring.passes import classifier_passes
        from operators.scoring.windows import Window

        folder = self.model.folder()
        labels = AutoConfig.from_pretrained(folder, local_files_only=True).num_labels
        if labels != 1:
            raise ValueError(f"{folder} is not a reward model, which has one logit: num_labels={labels}")
        tokenizer = loading.fast_tokenizer(folder)
        if self.pair == "chat" and tokenizer.chat_template is None:
            raise ValueError(f"{folder} has no chat template: set pair=segments, or add chat_template.jinja to it")
        model = loading.placed_model(folder, AutoModelForSequenceClassification, self.precision)
        window = Window(tokenizer, loading.token_limit(model, self.max_tokens))
        written = {"segments": _segments, "chat": _chat}[self.pair]
        passes = classifier_passes(model)

        def tokenize(batch: pa.Table) -> "list[tuple[Tokens, bool] | RowError]":
            pairs = [last_pair(messages) for messages in batch["messages"].to_pylist()]
            return [RowError("no_answer") if pair is None else _attempted(window, written, pair) for pair in pairs]

        def values(inputs: "list[tuple[Tokens, bool]]") -> Iterator[dict[str, Any] | RowError]:
            return map(_value, passes.logits([tokens for tokens, _ in inputs]), [cut for _, cut in inputs])

        return overlapped(tokenize, lambda inputs: values_of(inputs, values), model.device.type)


def last_pair(messages: Sequence[Message]) -> Pair | None:
    """The messages before the last assistant message, and its text; None where there is no such message."""
    answers = [at for at, message in enumerate(messages) if message["role"] == "assistant"]
    return (messages[: answers[-1]], sample.said(messages[answers[-1]])) if answers else None


def question(before: Sequence[Message]) -> str:
    """The question for a model without a chat template: the single user message, or the conversation with its roles."""
    return sample.triplet([*before, {"role": "assistant", "content": ""}], b"").instruction


def _segments(tokenizer: Any, before: Sequence[Message], answer: str) -> "Tokens":
    return tokenizer(question(before), answer, return_attention_mask=False, verbose=False)


def _chat(tokenizer: Any, before: Sequence[Message], answer: str) -> "Tokens":
    from jinja2 import TemplateError

    said: list[Message] = [{**message, "reasoning": None} for message in before]
    messages, tools = conversation([*said, {"role": "assistant", "content": answer}])
    try:
        text = tokenizer.apply_chat_template(messages, tools=tools, tokenize=False, strftime_now=date)
    except TemplateError as error:
        raise RowError("chat_template", str(error)) from error
    return tokenizer(text, add_special_tokens=False, return_attention_mask=False, verbose=False)


def _attempted(
    window: "Window", written: "Callable[[Any, Sequence[Message], str], Tokens]", pair: Pair
) -> "tuple[Tokens, bool] | RowError":
    """The input for a pair and whether the answer was cut, or the reason why there is none."""
    before, answer = pair
    if not sample.instruction(before).strip():
        return RowError("no_question", "the user says nothing before the answer")
    asked = question(before)
    too_long = RowError("too_long", f"{window.limit} tokens leave no room for the answer")
    if window.bounded(asked) != asked:
        return too_long
    try:
        kept, tokens = window.fitted(answer, lambda text: written(window.tokenizer, before, text))
        refuse_unreadable(window.tokenizer, tokens["input_ids"], f"{asked}\n{kept}", kept)
    except RowError as error:
        return error
    # Else the reward of an empty answer would be taken for the reward of this one.
    emptied = bool(answer.strip()) and not kept.strip()
    return too_long if emptied or window.exceeded(tokens) > 0 else (tokens, kept != answer)


def _value(logits: np.ndarray | RowError, truncated: bool) -> dict[str, Any] | RowError:
    if isinstance(logits, RowError):
        return logits
    reward = logits.item()
    if not np.isfinite(reward):
        return RowError("no_score", f"the model's logit is {reward}")
    return {"reward": reward, "truncated": truncated}
