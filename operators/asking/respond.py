"""The response of a language model to the conversation of a sample, up to its last user message.

LIFT answers its rewritten instructions this way, and MoDS compares the response of a model with the one of the sample.
A response that is empty or was cut off has an outcome that says so; it never becomes a sample.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import pyarrow as pa
from pydantic.dataclasses import dataclass

from operators.asking.asking import Asking, Count
from operators.asking.language_model import Answer, Question
from operators.asking.prompt import without_control
from operators.asking.ratings import THOUGHT, THOUGHT_END
from operators.base import STRICT, RowError
from operators.sample import Message, said

SPOKEN = {"tools": "system", "tool": "user"}
"""The roles that some chat templates lack, and the role that their messages get instead."""


@dataclass(frozen=True, config=STRICT)
class Respond(Asking):
    """The answer of the model: a struct of response, finished and outcome."""

    gives: ClassVar[pa.DataType] = pa.struct(
        [("response", pa.string()), ("finished", pa.bool_()), ("outcome", pa.string())]
    )

    max_tokens: Count = 1024

    def question(self, row: Mapping[str, Any]) -> Question | RowError:
        """The conversation; where it is too long, its earliest messages are cut first."""
        asked = upto_last_user(row["messages"])
        if not any(said(message).strip() for message in asked):
            return RowError("empty_text", "the conversation has no user message with a text")
        roles = [SPOKEN.get(message["role"], message["role"]) for message in asked]

        def render(texts: Mapping[str, str], tokens: Sequence[str]) -> list[Message]:
            shown = (without_control(text, tokens) for text in texts.values())
            return [{"role": role, "content": content} for role, content in zip(roles, shown, strict=True)]

        return Question({str(place): said(message) for place, message in enumerate(asked)}, render)

    def value(self, row: Mapping[str, Any], answer: Answer) -> dict[str, Any]:
        """The answer without the thinking; the outcome is that of `generated`, or `cut` where the question was cut."""
        text, outcome = generated(answer)
        return {"response": text, "finished": answer.finished, "outcome": outcome or ("cut" if answer.cut else "")}


class Generated(NamedTuple):
    """A text that a model wrote, and the reason why it cannot be trained on; empty where it can."""

    text: str
    outcome: str


def generated(answer: Answer) -> Generated:
    """The text after the thinking, stripped; the outcomes are `unfinished`, `empty` and `garbled` (not Unicode)."""
    text = unthought(answer.text)
    if text is None or not answer.finished:
        return Generated(encodable(text or ""), "unfinished")
    if encodable(text) != text:
        return Generated(encodable(text), "garbled")
    return Generated(text.strip(), "" if text.strip() else "empty")


def unthought(reply: str) -> str | None:
    """The reply without the thinking at its beginning; None where the thinking has no end.

    Where the chat template opened the thinking, the reply contains only the closing tag.
    """
    end = THOUGHT_END.search(reply)
    if THOUGHT.match(reply.lstrip()):
        return reply[end.end() :] if end else None
    return reply[end.end() :] if end and not THOUGHT.search(reply) else reply


def encodable(text: str) -> str:
    """The text with a question mark for each half of a surrogate pair, which the JSON of a server may contain."""
    return text.encode("utf-8", "replace").decode("utf-8")


def upto_last_user(messages: Sequence[Message]) -> list[Message]:
    """The messages up to and including the last user message; empty where there is none."""
    last = max((place for place, message in enumerate(messages) if message["role"] == "user"), default=-1)
    return list(messages[: last + 1])
