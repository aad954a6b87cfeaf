"""How natural, coherent and understandable a response is, by a model that answers yes or no to a question about it.

    UniEval()                                              # unieval-dialog, with which InstructMining's rule was fitted
    UniEval(model=Checkpoint("/models/unieval"), max_tokens=512)

UniEval (Zhong et al. 2022, arXiv 2210.07197) is a T5. A dimension is P(Yes) / (P(Yes) + P(No)) at the first step of its
decoder, after a question about the response. Naturalness and understandability are asked of the response alone;
coherence is asked of the response and the messages before it. The released code scores an empty response too, and cuts
a long input without a word. Here the first is an error, and the second is flagged.
"""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field
from pydantic.dataclasses import dataclass

from operators.base import STRICT, Compute, Operator, RowError
from operators.checkpoint import Checkpoint
from operators.models.cutting import cut
from operators.models.precision import Precision
from operators.positions import refuse_too_many
from operators.sample import Message
from operators.scoring.reward import last_pair
from operators.unknown import UNREADABLE, refuse_unreadable

DIMENSIONS = ("naturalness", "coherence", "understandability")
QUESTIONS = {
    "naturalness": "Is this a natural response in the dialogue?",
    "coherence": "Is this a coherent response given the dialogue history?",
    "understandability": "Is this an understandable response in the dialogue?",
}


@dataclass(frozen=True, config=STRICT)
class UniEval(Operator):
    """The naturalness, coherence and understandability of a sample's last assistant message, each from 0 to 1."""

    gives: ClassVar[pa.DataType | None] = pa.struct(
        [*((name, pa.float64()) for name in DIMENSIONS), ("truncated", pa.bool_())]
    )

    model: Checkpoint = Checkpoint("MingZhong/unieval-dialog")
    max_tokens: Annotated[int, Field(ge=1)] = 1024
    """The maximum number of tokens of an input. It is cut at its end: the messages before the response first."""
    precision: Precision = "float32"
    """auto: bfloat16 on a GPU that multiplies it, float32 elsewhere."""

    def check(self) -> None:
        """ModelMissing where the checkpoint is not there; ValueError where it has fewer positions than max_tokens."""
        self.model.check()
        refuse_too_many(self.model, self.max_tokens)

    def advice(self, kind: str, column: str) -> str:
        """Says what to do where the model cannot read the texts."""
        if kind != UNREADABLE:
            return ""
        return (
            "T5 reads English and languages near it: leave naturalness, coherence and understandability out of the "
            "rule, or fit a rule with a multilingual model of this kind"
        )

    def load(self) -> Compute:
        """A function from a batch to {"naturalness", "coherence", "understandability", "truncated"} or a RowError.

        The kinds of error are no_answer (no assistant message), empty_response, no_question (nothing was said before
        it), unreadable (operators/unknown.py), no_score (a logit is not a number) and out_of_memory (an input by itself
        is too large for the GPU). On a CPU a value is bitwise the same whatever samples are in its batch. ValueError
        for a tokenizer to which Yes and No begin alike.
        """
        from transformers import AutoModelForSeq2SeqLM

        from operators.models.ahead import overlapped
        from operators.models.loading import fast_tokenizer, placed_model
        from operators.models.tokenized import values_of
        from operators.scoring.yes_no import YesNo, answer_ids

        folder = self.model.folder()
        tokenizer = fast_tokenizer(folder)
        model = placed_model(folder, AutoModelForSeq2SeqLM, self.precision)
        asked = YesNo(model, answer_ids(tokenizer))

        def tokenize(batch: pa.Table) -> list[tuple[list[list[int]], bool] | RowError]:
            return [self._attempted(tokenizer, messages) for messages in batch["messages"].to_pylist()]

        def values(samples: list[tuple[list[list[int]], bool]]) -> list[dict[str, Any] | RowError]:
            answers = iter(asked.shares([row for rows, _ in samples for row in rows]))
            return [_value([next(answers) for _ in rows], truncated) for rows, truncated in samples]

        return overlapped(tokenize, lambda samples: values_of(samples, values), model.device.type)

    def _attempted(self, tokenizer: Any, messages: Sequence[Message]) -> tuple[list[list[int]], bool] | RowError:
        """The tokens of the question of each dimension and whether one was cut, or why there are none."""
        try:
            return self._questions(tokenizer, messages)
        except RowError as error:
            return error

    def _questions(self, tokenizer: Any, messages: Sequence[Message]) -> tuple[list[list[int]], bool]:
        pair = last_pair(messages)
        if pair is None:
            raise RowError("no_answer")
        said, answer = [message["content"] for message in pair[0]], pair[1]
        if not answer.strip():
            raise RowError("empty_response", "the response has no text")
        if not "".join(said).strip():
            raise RowError("no_question", "nothing is said before the response")
        history = "\n".join(said) + "\n\n"
        tokens, shortened = [], False
        for name, text in zip(DIMENSIONS, inputs(answer, history), strict=True):
            shown = cut(text, self.max_tokens, lambda part: len(tokenizer(part, verbose=False)["input_ids"]))
            whole = tokenizer(shown, verbose=False)["input_ids"]
            row = tokenizer(shown, truncation=True, max_length=self.max_tokens)["input_ids"]
            shortened |= len(whole) > self.max_tokens
            refuse_unreadable(
                tokenizer, row, answer, *([history] if name == "coherence" else []), limit=self.max_tokens
            )
            tokens.append(row)
        return tokens, shortened


def inputs(answer: str, history: str) -> list[str]:
    """The input of each dimension, as the released code writes it. `</s>` becomes the token of that name."""
    written = {name: f"question: {question} </s> response: {answer}" for name, question in QUESTIONS.items()}
    written["coherence"] += f" </s> dialogue history: {history}"
    return [written[name] for name in DIMENSIONS]


def _value(answers: Sequence[float | RowError], truncated: bool) -> dict[str, Any] | RowError:
    for answer in answers:
        if isinstance(answer, RowError):
            return answer
        if not np.isfinite(answer):
            return RowError("no_score", "the model's logits are not numbers")
    return {**dict(zip(DIMENSIONS, answers, strict=True)), "truncated": truncated}
