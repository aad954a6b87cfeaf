"""A message as it is written in OpenAI's format."""

import json
from typing import Any

from operators.sample import Message


def openai_message(message: Message) -> dict[str, Any]:
    """Returns a message as it is written in OpenAI's format; its calls are a list of {"name", "arguments"}."""
    written: dict[str, Any] = {"role": message["role"], "content": message["content"]}
    if reasoning := message.get("reasoning"):
        written["reasoning_content"] = reasoning
    if calls := message.get("tool_calls"):
        written["tool_calls"] = json.loads(calls)
    if name := message.get("name"):
        written["name"] = name
    return written
