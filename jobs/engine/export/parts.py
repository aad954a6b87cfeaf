"""The parts of a conversation as trainers want them: the tools on offer, the system prompt, thoughts and calls."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from operators.sample import Message

THINK = ("<think>\n", "\n</think>\n\n")


class Unfit(Exception):
    """A sample that the target cannot hold; the message says why."""


class Parts(NamedTuple):
    """A conversation up to its last answer."""

    tools: list[Any]
    """The tools on offer, as OpenAI's {"type": "function", "function": …}."""
    system: str
    """The system prompts before the conversation, joined by newlines."""
    spoken: list[Message]
    """The messages after them; the last one is the assistant's."""


def parts_of(messages: Sequence[Message]) -> Parts:
    """The parts of a conversation. Unfit where it has no answer, or tools that are no JSON list."""
    last = max((at for at, each in enumerate(messages) if each["role"] == "assistant"), default=None)
    if last is None:
        raise Unfit("it has no answer")
    tools: list[Any] = []
    system: list[str] = []
    spoken: list[Message] = []
    for message in messages[: last + 1]:
        if message["role"] == "tools":
            tools += _tools(message["content"])
        elif message["role"] == "system" and not spoken:
            system.append(message["content"])
        else:
            spoken.append(message)
    return Parts(tools, "\n".join(system), spoken)


def _tools(text: str) -> list[Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    found = [found] if isinstance(found, dict) else found
    if not isinstance(found, list):
        raise Unfit("its tools are no JSON list")
    return [
        {"type": "function", "function": each}
        if isinstance(each, dict) and "name" in each and "type" not in each
        else each
        for each in found
    ]


def calls_of(message: Message) -> list[dict[str, Any]]:
    """The calls of a message as {"name", "arguments"}, with an "id" where they have one. Unfit without a name."""
    calls = json.loads(message.get("tool_calls") or "[]")
    if not all(isinstance(each, dict) and isinstance(each.get("name"), str) for each in calls):
        raise Unfit("it has a call of a tool without the tool's name")
    return [{"arguments": {}, **each} for each in calls]


def text_of(value: Any) -> str:
    """A value as JSON text."""
    return json.dumps(value, ensure_ascii=False)


def thought(message: Message) -> str:
    """The reasoning of a message between the words of most chat templates; empty for none."""
    reasoning = message.get("reasoning")
    return reasoning.join(THINK) if reasoning else ""
