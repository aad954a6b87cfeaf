"""The formats of instruction data: from a record's fields to its messages.

A record is recognised by the fields it has, one record at a time. A format whose needed fields are all there
and not null comes before one with a null among them, and `FORMATS` lists them in order of precedence.
"""

import json
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from functools import cache, cached_property, partial
from types import MappingProxyType
from typing import Any, NamedTuple

from jobs.engine.ingest.faults import RecordFault
from jobs.engine.ingest.records.answers import refuse_preference
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

LISTS = ("messages", "conversations", "prompt", "completion", "response")


@dataclass(frozen=True)
class Format:
    """A format: the fields that it is recognised by, how its messages are read, and the fields that hold them."""

    name: str
    needs: Set[str]
    messages: Callable[[Record], list[Message]]
    also: Set[str] = frozenset()
    """Fields that are read where they are there, beside those that it needs, the tools and the system prompt."""
    system: str | None = "system"
    """The field of the system prompt."""

    @cached_property
    def holds(self) -> Set[str]:
        """The fields whose values become messages."""
        return frozenset({*self.needs, *self.also, "tools", *([self.system] if self.system else [])})

    @cached_property
    def lists(self) -> tuple[str, ...]:
        """Those that may be lists of messages, in the order in which they are read."""
        return tuple(field for field in LISTS if field in self.needs)


class Read(NamedTuple):
    """A record's conversation."""

    format: Format
    messages: list[Message]
    opening: int
    """How many of the messages stand before the conversation: the tools on offer, the system prompt."""


def messages_of(record: Record, columns: Mapping[str, str] = NO_COLUMNS) -> tuple[str, list[Message]]:
    """The name of the record's format and its messages; RecordFault where it has none."""
    found = read(record, columns)
    return found.format.name, found.messages


def read(record: Record, columns: Mapping[str, str] = NO_COLUMNS) -> Read:
    """The record's format and conversation; RecordFault where it has none."""
    if columns:
        recognised = _of_columns(tuple(sorted(columns.items())))
        _refuse_absent(record, columns)
    else:
        recognised = _recognised(record)
    messages = recognised.messages(record)
    opening = _opening(record, recognised.system)
    if opening:
        messages = opening + messages
    _refuse_incomplete(messages)
    return Read(recognised, messages, len(opening))


def _recognised(record: Record) -> Format:
    with_null = None
    for candidate in FORMATS:
        if record.keys() >= candidate.needs:
            if not any(record[field] is None for field in candidate.needs):
                return candidate
            with_null = with_null or candidate
    if with_null:
        return with_null
    refuse_preference(record)
    needs = "; ".join(f"{candidate.name} needs {' and '.join(sorted(candidate.needs))}" for candidate in FORMATS)
    raise RecordFault(
        "missing_field",
        f"no format fits the fields found ({_named(record)}): {needs}; "
        "or name the fields: --columns instruction=FIELD,response=FIELD",
    )


def _refuse_incomplete(messages: list[Message]) -> None:
    for message in messages:
        content = message["content"]
        if content and not content.isspace():
            break
    else:
        raise RecordFault("empty_record", "the conversation has no text at all")
    for message in messages:
        if message["role"] == "user":
            return
    raise RecordFault("missing_field", "the conversation has no user message")


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


@cache
def _of_columns(pairs: tuple[tuple[str, str], ...]) -> Format:
    """The format of records whose fields a person named: pairs of role and field."""
    columns = dict(pairs)
    instruction, response, context = columns["instruction"], columns["response"], columns.get("input")

    def messages(record: Record) -> list[Message]:
        plain = {key: value for key, value in record.items() if key != "history"}
        return _single_turn(plain, instruction=instruction, context=context, response=response)

    return Format("columns", {instruction, response}, messages, {context} if context else set(), columns.get("system"))


def _refuse_absent(record: Record, columns: Mapping[str, str]) -> None:
    for role in ("instruction", "response"):
        if columns[role] not in record:
            found = f"there is no field {columns[role]!r} for the {role}; found: {_named(record)}"
            raise RecordFault("missing_field", found)


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
        {"input", "history"},
    ),
    Format(
        "dolly",
        {"instruction", "response"},
        partial(_single_turn, instruction="instruction", context="context", response="response"),
        {"context", "history"},
    ),
    Format(
        "query-response",
        {"query", "response"},
        partial(_single_turn, instruction="query", context=None, response="response"),
        {"history"},
    ),
    Format(
        "prompt-completion", {"prompt", "completion"}, partial(_prompt_completion, response="completion"), {"history"}
    ),
    Format("prompt-completion", {"prompt", "response"}, partial(_prompt_completion, response="response"), {"history"}),
)
