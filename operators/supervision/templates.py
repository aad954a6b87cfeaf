"""The ways to write a conversation out for training, piece by piece, and as Jinja for a model that is asked."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from operators.base import RowError
from operators.sample import Message, said

PREAMBLE = "You are given an instruction. Answer it with a response that does what it asks for."

DATE = datetime(2024, 7, 26)
"""The day that is written by chat templates that write today's: Llama's own, where it is told none."""


def date(form: str) -> str:
    """DATE in this form, for `strftime_now` in a template: what is computed of a sample does not depend on the day."""
    return DATE.strftime(form)


class Segment(NamedTuple):
    """One piece of a conversation in its written form."""

    text: str | None
    """None for the end-of-sequence token."""
    supervised: bool = False
    """Whether the piece is trained on."""


def is_answer(message: Message) -> bool:
    """Whether a message is trained on: the assistant's, with a text that is not blank or with a call."""
    return message["role"] == "assistant" and bool(said(message).strip())


def written(message: Message) -> str:
    """A message as one text: what the assistant thinks, then what it says."""
    return said(with_thoughts(message))


def with_thoughts(message: Message) -> Message:
    """A message whose text begins with what the assistant thinks."""
    thoughts = message.get("reasoning")
    if not thoughts:
        return message
    return {**message, "content": f"<think>\n{thoughts}\n</think>\n\n{message['content']}", "reasoning": None}


def _tulu(tokenizer: Any, messages: Sequence[Message]) -> Iterator[Segment]:
    for message in messages:
        trained = is_answer(message)
        yield Segment(f"<|{message['role']}|>\n")
        yield Segment(written(message).strip(), trained)
        if message["role"] == "assistant":
            yield Segment(None, trained)
        yield Segment("\n", trained)


def _alpaca(tokenizer: Any, messages: Sequence[Message]) -> Iterator[Segment]:
    if not messages or messages[0]["role"] != "system":
        yield Segment(PREAMBLE)
    for position, message in enumerate(messages):
        if message["role"] == "assistant":
            yield Segment("\n\n### Response:")
            yield Segment(written(message), is_answer(message))
            yield Segment(None, is_answer(message))
        elif message["role"] == "user":
            yield Segment(f"\n\n### Instruction:\n{said(message)}")
        else:
            yield Segment(f"\n\n{said(message)}" if position else said(message))


def _plain(tokenizer: Any, messages: Sequence[Message]) -> Iterator[Segment]:
    return (Segment(written(message), is_answer(message)) for message in messages)


def _chat(tokenizer: Any, messages: Sequence[Message]) -> Iterator[Segment]:
    """The conversation as the template writes it, cut at the places where the model would begin and end a response.

    A template that leaves out what the assistant thinks gets it as a part of the answer.
    """
    whole = _rendered(tokenizer, messages)
    thoughts = next((each for message in reversed(messages) if (each := message.get("reasoning"))), None)
    if thoughts and thoughts not in whole:
        messages = [with_thoughts(message) for message in messages]
        whole = _rendered(tokenizer, messages)
    at = 0
    for position, message in enumerate(messages):
        if not is_answer(message):
            continue
        prompt = _rendered(tokenizer, messages[:position], add_generation_prompt=True)
        response = _response(whole, prompt, _rendered(tokenizer, messages[: position + 1]), _spoken(message))
        yield Segment(whole[at : len(prompt)])
        yield Segment(response, True)
        at = len(prompt) + len(response)
    yield Segment(whole[at:])


def _spoken(message: Message) -> list[str]:
    """What every form of an answer has in it: its text, and the names of the tools that it calls."""
    calls = json.loads(message.get("tool_calls") or "[]")
    return [
        message["content"].strip(),
        *(str(call["name"]) for call in calls if isinstance(call, dict) and "name" in call),
    ]


def _response(whole: str, prompt: str, until: str, spoken: Sequence[str]) -> str:
    """What the template writes for a response after its prompt, including the end of the turn.

    whole: the written conversation. prompt, until: the conversation before the response, and up to its end. Templates
    that show the thinking of the last response only write an earlier response differently in the whole: without the
    beginning. What follows that is the same. RowError chat_template where it is not, or lacks some of `spoken`.
    """
    if whole.startswith(prompt) and until.startswith(prompt):
        if whole.startswith(until):
            return until[len(prompt) :]
        found, first = len(prompt), whole[len(prompt) : len(prompt) + 1]
        while first and (found := until.find(first, found)) >= 0:
            written = until[found:]
            if whole.startswith(written, len(prompt)) and all(each in written for each in spoken):
                return written
            found += 1
    raise RowError("chat_template", "the template writes the beginning of a conversation differently from the whole")


def conversation(messages: Sequence[Message]) -> tuple[list[dict[str, Any]], list[Any] | None]:
    """Messages and the tools on offer as chat templates take them; None for no tools.

    What the assistant thinks is `reasoning_content`, and its calls are objects. Tools that are no JSON list stay a
    message.
    """
    tools: list[Any] = []
    given: list[dict[str, Any]] = []
    for message in messages:
        offered = _json_list(message["content"]) if message["role"] == "tools" else None
        if offered:
            tools += offered
            continue
        entry: dict[str, Any] = {"role": message["role"], "content": message["content"]}
        if thoughts := message.get("reasoning"):
            entry["reasoning_content"] = thoughts
        if called := message.get("tool_calls"):
            entry["tool_calls"] = [_call(each) for each in json.loads(called)]
        if name := message.get("name"):
            entry["name"] = name
        given.append(entry)
    return given, tools or None


def _call(call: Any) -> Any:
    if not isinstance(call, dict) or "name" not in call:
        return call
    function = {"name": call["name"], "arguments": call.get("arguments", {})}
    return {"type": "function", **{name: call[name] for name in ("id",) if name in call}, "function": function}


def _json_list(text: str) -> list[Any] | None:
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, list) else None


def _rendered(tokenizer: Any, messages: Sequence[Message], **options: bool) -> str:
    from jinja2 import TemplateError

    given, tools = conversation(messages)
    try:
        return tokenizer.apply_chat_template(given, tools=tools, tokenize=False, strftime_now=date, **options)
    except (
        TemplateError,
        TypeError,
        IndexError,
    ) as error:  # a template that is not made for the messages
        raise RowError("chat_template", f"{type(error).__name__}: {error}") from error


# A template's name: the function from a tokenizer and messages to pieces.
WRITTEN: Mapping[str, Callable[[Any, Sequence[Message]], Iterator[Segment]]] = {
    "tulu": _tulu,
    "tulu_prefixes": _tulu,
    "alpaca": _alpaca,
    "chat": _chat,
    "plain": _plain,
}


# Jinja drops the line break after a block, so every line break is spelled out.
TULU = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content'] | trim }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)

ALPACA = (
    "{% if not messages or messages[0]['role'] != 'system' %}{{ '" + PREAMBLE + "' }}{% endif %}"
    "{% for message in messages %}{% if message['role'] == 'assistant' %}"
    "{{ '\n\n### Response:' + message['content'] + eos_token }}{% elif message['role'] == 'user' %}"
    "{{ '\n\n### Instruction:\n' + message['content'] }}{% else %}"
    "{{ ('' if loop.first else '\n\n') + message['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '\n\n### Response:' }}{% endif %}"
)
