"""The formats of instruction data: from a record's fields to its messages.

A record is recognised by the fields it has, one record at a time. A format whose needed fields are all there
and not null comes before one with a null among them, and `FORMATS` lists them in order of precedence.
"""

import json
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

from jobs.engine.ingest.faults import RecordFault
from operators.sample import Message

Record = Mapping[str, Any]
NO_COLUMNS: Mapping[str, str] = MappingProxyType({})

ROLES = {
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bard", "bing", "claude", "model", "bot", "ai"), "assistant"),
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("tool", "function", "function_call", "tool_call", "observation", "ipython"), "tool"),
    **dict.fromkeys(("function_response", "tool_response"), "tool"),
    "tools": "tools",
}


@dataclass(frozen=True)
class Format:
    """A format: the fields that it is recognised by, and how its messages are read."""

    name: str
    needs: Set[str]
    messages: Callable[[Record], list[Message]]


def messages_of(record: Record, columns: Mapping[str, str] = NO_COLUMNS) -> tuple[str, list[Message]]:
    """The name of the record's format and its messages; RecordFault where it has none."""
    if columns:
        name, messages = "columns", _columns_messages(record, columns)
    else:
        recognised = _recognised(record)
        name, messages = recognised.name, recognised.messages(record)
    opening = _opening(record, columns.get("system") if columns else "system")
    messages = opening + messages if opening else messages
    _refuse_incomplete(messages)
    return name, messages


def _recognised(record: Record) -> Format:
    with_null = None
    for candidate in FORMATS:
        if record.keys() >= candidate.needs:
            if not any(record[field] is None for field in candidate.needs):
                return candidate
            with_null = with_null or candidate
    if with_null:
        return with_null
    needs = "; ".join(f"{candidate.name} needs {' and '.join(sorted(candidate.needs))}" for candidate in FORMATS)
    raise RecordFault(
        "missing_field",
        f"no format fits the fields found ({_named(record)}): {needs}; "
        "or name the columns: columns.instruction=..., columns.response=...",
    )


def _refuse_incomplete(messages: list[Message]) -> None:
    roles = {message["role"] for message in messages}
    for message in messages:
        content = message["content"]
        if content and not content.isspace():
            break
    else:
        raise RecordFault("empty_record", "the conversation has no text at all")
    for role in ("user", "assistant"):
        if role not in roles:
            raise RecordFault("missing_field", f"the conversation has no {role} message")


def _opening(record: Record, system: str | None) -> list[Message]:
    """The messages that stand before the conversation: the tools on offer and the system prompt."""
    opening: list[Message] = []
    tools = record.get("tools")
    if tools:
        opening.append({"role": "tools", "content": tools if isinstance(tools, str) else _as_json(tools)})
    if system is not None and record.get(system) is not None and (content := _text(record, system)):
        opening.append({"role": "system", "content": content})
    return opening


def _single_turn(record: Record, *, instruction: str, context: str | None, response: str) -> list[Message]:
    """A question and its answer, after the turns of `history`; the context follows the instruction on a new line."""
    asked = _text(record, instruction)
    if context is not None and record.get(context) is not None and (more := _text(record, context)):
        asked = f"{asked}\n{more}"
    answered = _text(record, response)
    messages = _history(record["history"]) if record.get("history") else []
    messages.append({"role": "user", "content": asked})
    messages.append({"role": "assistant", "content": answered})
    return messages


def _history(history: Any) -> list[Message]:
    if not isinstance(history, list):
        raise _wrong_type("history", history, "an array of [instruction, response] pairs")
    messages: list[Message] = []
    for position, pair in enumerate(history):
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(text, str) for text in pair)):
            raise _wrong_type(f"history[{position}]", pair, "a pair of strings")
        messages.append({"role": "user", "content": pair[0]})
        messages.append({"role": "assistant", "content": pair[1]})
    return messages


def _prompt_completion(record: Record, *, response: str) -> list[Message]:
    """Two strings, or, in TRL's conversational form, two lists of messages."""
    if isinstance(record["prompt"], list) and isinstance(record[response], list):
        return _conversation(record, "prompt") + _conversation(record, response)
    return _single_turn(record, instruction="prompt", context=None, response=response)


def _columns_messages(record: Record, columns: Mapping[str, str]) -> list[Message]:
    for role, column in columns.items():
        if column not in record and role in ("instruction", "response"):
            raise RecordFault("missing_field", f"there is no field {column!r} for the {role}; found: {_named(record)}")
    plain = {key: value for key, value in record.items() if key != "history"}
    instruction, response = columns["instruction"], columns["response"]
    return _single_turn(plain, instruction=instruction, context=columns.get("input"), response=response)


def _conversation(record: Record, field: str) -> list[Message]:
    """A list of messages, each {role, content} or {from, value}."""
    items = record[field]
    if not isinstance(items, list):
        raise _wrong_type(field, items, "an array of messages")
    return [_message(item, f"{field}[{position}]") for position, item in enumerate(items)]


def _message(item: Any, where: str) -> Message:
    if not isinstance(item, dict):
        raise _wrong_type(where, item, "an object")
    role_field = "role" if "role" in item else "from"
    if role_field not in item:
        raise RecordFault("missing_field", f"{where} has neither 'role' nor 'from'; found: {_named(item)}")
    said = item[role_field]
    role = ROLES.get(said.strip().lower()) if isinstance(said, str) else None
    if role is None:
        raise RecordFault("wrong_type", f"{where}.{role_field} is {_shown(said)}, which is none of {', '.join(ROLES)}")
    return {"role": role, "content": _content(item, where)}


def _content(item: Record, where: str) -> str:
    """A message's text; its text parts a line each; and the JSON text of the tools it calls."""
    calls = item.get("tool_calls") or item.get("function_call")
    field = "content" if "content" in item else "value"
    if field not in item and not calls:
        raise RecordFault("missing_field", f"{where} has neither 'content' nor 'value'; found: {_named(item)}")
    content = item.get(field)
    if isinstance(content, list):
        content = "\n".join(_part(part, f"{where}.{field}[{position}]") for position, part in enumerate(content))
    elif content is None and calls:
        content = ""
    elif not isinstance(content, str):
        raise _wrong_type(f"{where}.{field}", content, "a string")
    if not calls:
        return content
    called = calls if isinstance(calls, str) else _as_json(calls)
    return f"{content}\n{called}" if content else called


def _part(part: Any, where: str) -> str:
    if not isinstance(part, dict):
        raise _wrong_type(where, part, "an object")
    if part.get("type") != "text":
        raise RecordFault("wrong_type", f"{where} is of type {_shown(part.get('type'))}; only text parts can be read")
    return _text(part, "text", f"{where}.text")


def _text(record: Record, field: str, where: str | None = None) -> str:
    value = record.get(field)
    if isinstance(value, str):
        return value
    raise _wrong_type(where or field, value, "a string")


def _wrong_type(where: str, value: Any, expected: str) -> RecordFault:
    return RecordFault("wrong_type", f"{where} is {_type_name(value)}, expected {expected}")


def _type_name(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    names = {str: "a string", int: "a number", float: "a number", list: "an array", dict: "an object"}
    return names.get(type(value), type(value).__name__)


def _named(record: Record) -> str:
    """The field names of a record for a message, cut where there are very many or very long ones."""
    if not record:
        return "none"
    shown = [str(name)[:60] for name in list(record)[:20]]
    return ", ".join(shown) + (f" and {len(record) - 20} more" if len(record) > 20 else "")


def _shown(value: Any) -> str:
    return repr(value)[:60] if isinstance(value, str) else _type_name(value)


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


FORMATS = (
    Format("openai", {"messages"}, partial(_conversation, field="messages")),
    Format("sharegpt", {"conversations"}, partial(_conversation, field="conversations")),
    Format(
        "alpaca",
        {"instruction", "output"},
        partial(_single_turn, instruction="instruction", context="input", response="output"),
    ),
    Format(
        "dolly",
        {"instruction", "response"},
        partial(_single_turn, instruction="instruction", context="context", response="response"),
    ),
    Format(
        "query-response",
        {"query", "response"},
        partial(_single_turn, instruction="query", context=None, response="response"),
    ),
    Format("prompt-completion", {"prompt", "completion"}, partial(_prompt_completion, response="completion")),
    Format("prompt-completion", {"prompt", "response"}, partial(_prompt_completion, response="response")),
)
