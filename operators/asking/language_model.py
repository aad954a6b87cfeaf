"""What a language model is asked and what it answers, whoever answers: vLLM in the worker or a server."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

from operators.base import RowError
from operators.sample import Message

Thinking = Literal["off", "default"]
"""off: the model is asked not to think before it answers; default: its chat template decides."""

Render = Callable[[Mapping[str, str], Sequence[str]], list[Message]]
"""A function from a sample's texts to messages; its second argument lists the strings not to be read as control
tokens."""


@dataclass(frozen=True)
class Question:
    """What is asked about one sample: its texts, and the function that makes messages of them."""

    texts: Mapping[str, str]
    """The sample's own texts by name, in the order in which they may be cut where the context is too short."""
    render: Render
    cut: bool = False
    """Whether a text has been cut."""

    def shorter(self, characters: int) -> "Question | None":
        """The question without that many characters at the end of its first non-empty text; None if all are empty."""
        for name, text in self.texts.items():
            if text:
                return replace(self, texts={**self.texts, name: text[: max(0, len(text) - characters)]}, cut=True)
        return None


@dataclass(frozen=True)
class Answer:
    """A model's answer to a question."""

    text: str
    finished: bool
    """False where the answer was cut at the maximum number of tokens."""
    cut: bool
    """Whether the question had to be cut."""
    masses: Mapping[str, float]
    """The probability that the first token is a label, for each label that was asked for."""


AnswerOrError = Answer | RowError
"""A model's answer to a question, or the reason why the question has none."""


@dataclass(frozen=True)
class Manner:
    """How an answer is sampled."""

    max_tokens: int
    temperature: float = 0.0
    seed: int = 0
    thinking: Thinking = "off"
    labels: tuple[str, ...] = ()
    """Single tokens whose probability as the first token is wanted; the answer is then that one token."""
    schema: Mapping[str, Any] | None = None
    """A JSON schema that the answer has to follow."""


class LanguageModel(Protocol):
    """A model that answers questions."""

    def answers(self, questions: Sequence[Question], manner: Manner) -> Iterator[dict[int, AnswerOrError]]:
        """The answers by the position of their question, in groups as they arrive; each question once."""
        ...


class OutOfTokens(Exception):
    """None of the first replies contained an answer within the maximum number of tokens."""

    def __init__(self, said: str, tokens: int):
        super().__init__(said, tokens)
        self.said = said
        self.tokens = tokens
        """A larger maximum to try."""


def template_options(thinking: Thinking) -> dict[str, bool]:
    """The options for a chat template, by the names that Qwen's and DeepSeek's use; other templates ignore them."""
    return {"enable_thinking": False, "thinking": False} if thinking == "off" else {}
