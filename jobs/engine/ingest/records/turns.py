"""Messages from the values of a record: from an instruction and its response, or from a list of messages."""

from typing import Any

from jobs.engine.ingest.faults import RecordFault
from jobs.engine.ingest.records.values import Record, as_json, field_names, shown, text_in, wrong_type
from operators.sample import Message

ROLES = {
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bard", "bing", "claude", "model", "bot", "ai"), "assistant"),
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("tool", "function", "function_call", "tool_call", "observation", "ipython"), "tool"),
    **dict.fromkeys(("function_response", "tool_response"), "tool"),
    "tools": "tools",
}


def single_turn(record: Record, *, instruction: str, context: str | None, response: str) -> list[Message]:
    """Returns an instruction and its response after the turns of `history`. The context is put on a new line."""
    asked = text_in(record, instruction)
    if context is not None and record.get(context) is not None and (more := text_in(record, context)):
        asked = f"{asked}\n{more}"
    answered = text_in(record, response)
    messages = _history(record["history"]) if record.get("history") else []
    messages.append({"role": "user", "content": asked})
    messages.append({"role": "assistant", "content": answered})
    return messages


def _history(history: Any) -> list[Message]:
    if not isinstance(history, list):
        raise wrong_type("history", history, "an array of [instruction, response] pairs")
    messages: list[Message] = []
    for position, pair in enumerate(history):
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(text, str) for text in pair)):
            raise wrong_type(f"history[{position}]", pair, "a pair of strings")
        messages.append({"role": "user", "content": pair[0]})
        messages.append({"role": "assistant", "content": pair[1]})
    return messages


def prompt_completion(record: Record, *, response: str) -> list[Message]:
    """Returns the messages of two strings, or, in TRL's conversational form, of two lists of messages."""
    if isinstance(record["prompt"], list) and isinstance(record[response], list):
        return conversation(record, "prompt") + conversation(record, response)
    return single_turn(record, instruction="prompt", context=None, response=response)


def conversation(record: Record, field: str) -> list[Message]:
    """Returns the messages of a list of objects, each {role, content} or {from, value}."""
    items = record[field]
    if not isinstance(items, list):
        raise wrong_type(field, items, "an array of messages")
    return [_message(item, f"{field}[{position}]") for position, item in enumerate(items)]


def _message(item: Any, where: str) -> Message:
    if not isinstance(item, dict):
        raise wrong_type(where, item, "an object")
    role_field = "role" if "role" in item else "from"
    if role_field not in item:
        raise RecordFault("missing_field", f"{where} has neither 'role' nor 'from'; found: {field_names(item)}")
    said = item[role_field]
    role = ROLES.get(said.strip().lower()) if isinstance(said, str) else None
    if role is None:
        raise RecordFault("wrong_type", f"{where}.{role_field} is {shown(said)}, which is none of {', '.join(ROLES)}")
    return {"role": role, "content": _content(item, where)}


def _content(item: Record, where: str) -> str:
    """Returns the text of a message, one line per text part, and the JSON text of the tools that it calls."""
    calls = item.get("tool_calls") or item.get("function_call")
    field = "content" if "content" in item else "value"
    if field not in item and not calls:
        raise RecordFault("missing_field", f"{where} has neither 'content' nor 'value'; found: {field_names(item)}")
    content = item.get(field)
    if isinstance(content, list):
        content = "\n".join(_part(part, f"{where}.{field}[{position}]") for position, part in enumerate(content))
    elif content is None and calls:
        content = ""
    elif not isinstance(content, str):
        raise wrong_type(f"{where}.{field}", content, "a string")
    if not calls:
        return content
    called = calls if isinstance(calls, str) else as_json(calls)
    return f"{content}\n{called}" if content else called


def _part(part: Any, where: str) -> str:
    if not isinstance(part, dict):
        raise wrong_type(where, part, "an object")
    if part.get("type") != "text":
        raise RecordFault("wrong_type", f"{where} is of type {shown(part.get('type'))}; only text parts can be read")
    return text_in(part, "text", f"{where}.text")
