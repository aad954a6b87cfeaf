"""Messages from the ways in which records write a conversation. The values decide, and not which keys there are.

[{"role": "user", "content": "…"}, …]          objects with a role and a content, under any of their names
[{"human": "…", "assistant": "…"}, …]          pairs
["…", "…"]                                     texts in turns, the user's first
{"role": ["user", …], "content": ["…", …]}     columns
'[{"role": …}]'                                any of these as JSON text
"""

from collections.abc import Iterator, Mapping, Set
from types import MappingProxyType
from typing import Any

from jobs.engine.ingest.faults import RecordFault
from jobs.engine.ingest.records.calls import calls_in
from jobs.engine.ingest.records.contents import THINK, Content, apart, content_of, together
from jobs.engine.ingest.records.values import Record, decoded, field_names, filled, filled_names, shown, wrong_type
from operators.sample import Message

ROLES = {
    **dict.fromkeys(("user", "human", "prompter", "question"), "user"),
    **dict.fromkeys(
        ("assistant", "gpt", "chatgpt", "bard", "bing", "claude", "model", "bot", "ai", "answer"), "assistant"
    ),
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("tool", "function", "observation", "observations", "ipython", "environment"), "tool"),
    **dict.fromkeys(("tool_response", "function_response", "tool_result", "tool_output", "function_output"), "tool"),
    "tools": "tools",
}
CALL_ROLES = {"function_call", "function_calls", "functions", "tool_call", "tool_calls"}
CALL_FIELDS = ("tool_calls", "function_call", "tool_call", "function_calls", "functions")
ROLE_FIELDS = ("role", "from")
TEXT_FIELDS = ("content", "value", "text")
REASONING_FIELDS = ("reasoning_content", "reasoning", "thinking")
THOUGHT_INFO = {"think_content", "answer_content"}

NO_MORE: Mapping[str, Any] = MappingProxyType({})

Spoken = tuple[Message, Mapping[str, Any]]
"""A message, and what the record has of it besides."""


def conversation(value: Any, where: str) -> Iterator[Spoken]:
    """Gives the messages of a conversation. RecordFault, which names the place, for what is no message."""
    for position, item in enumerate(_listed(value, where)):
        yield from messages_in(item, f"{where}[{position}]")


def _listed(value: Any, where: str) -> list[Any]:
    value = decoded(decoded(value, "["), "{")
    if isinstance(value, dict):
        value = [value] if any(isinstance(value.get(name), str) for name in ROLE_FIELDS) else _rows(value)
    if not isinstance(value, list):
        raise wrong_type(where, value, "an array of messages")
    if value and all(isinstance(each, str) for each in value):
        return [{"role": "assistant" if place % 2 else "user", "content": text} for place, text in enumerate(value)]
    return value


def _rows(columns: Record) -> Any:
    """Returns the objects whose fields stand as equally long lists; any other value unchanged."""
    lists = {name: column for name, column in columns.items() if column is not None}
    lengths = {len(column) if isinstance(column, list) else -1 for column in lists.values()}
    if len(lengths) != 1 or -1 in lengths:
        return columns
    return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]


def is_message(value: Any) -> bool:
    """Whether a value is an object with the role of a speaker."""
    return isinstance(value, dict) and _role_field(value) is not None


def _role_field(item: Record) -> str | None:
    return next((name for name in ROLE_FIELDS if item.get(name) is not None), None)


def messages_in(item: Any, where: str) -> Iterator[Spoken]:
    """Gives the messages of one item of a conversation, nearly always one."""
    if not isinstance(item, dict):
        raise wrong_type(where, item, "an object")
    role_field = _role_field(item)
    if role_field:
        yield from _message(item, item[role_field], role_field, where)
        return
    speakers = {name: text for name, text in item.items() if text is not None}
    if not speakers or not all(ROLES.get(name.lower()) for name in speakers):
        raise RecordFault("missing_field", f"{where} has neither 'role' nor 'from'; found: {field_names(item)}")
    for name in sorted(speakers, key=lambda name: ORDER.index(ROLES[name.lower()])):
        yield from spoken(ROLES[name.lower()], speakers[name], f"{where}.{name}")


ORDER = ("tools", "system", "user", "tool", "assistant")
"""The order of the speakers of one item that holds a text of each."""


def spoken(role: str, value: Any, where: str) -> Iterator[Spoken]:
    """Gives the messages of a text, or of parts, that someone in this role says."""
    yield from _said(role, content_of(value, where), NO_MORE, frozenset())


def _message(item: Record, word: Any, role_field: str, where: str) -> Iterator[Spoken]:
    called = isinstance(word, str) and word.strip().lower() in CALL_ROLES
    role = "assistant" if called else ROLES.get(word.strip().lower()) if isinstance(word, str) else None
    if role is None:
        known = ", ".join([*ROLES, *sorted(CALL_ROLES)])
        raise RecordFault("wrong_type", f"{where}.{role_field} is {shown(word)}, which is none of {known}")
    field = next((name for name in TEXT_FIELDS if item.get(name) is not None), None)
    value = item[field] if field else None
    if len(item) == 2 and role != "assistant" and isinstance(value, str) and value[:1] != "[":
        yield {"role": role, "content": value}, NO_MORE  # nearly all messages, without the detours
        return
    call_field = next((name for name in CALL_FIELDS if filled(item, name)), None)
    calls = item[call_field] if call_field else None
    if called and calls is None and value is not None:
        calls, value = value, None
    if value is None and calls is None and not any(filled(item, name) for name in REASONING_FIELDS):
        named = next((name for name in TEXT_FIELDS if name in item), None)
        if named:
            raise wrong_type(f"{where}.{named}", None, "a string")
        raise RecordFault("missing_field", f"{where} has neither 'content' nor 'value'; found: {field_names(item)}")
    content = Content() if value is None else content_of(value, f"{where}.{field}")
    if calls is not None:
        content.calls.append(calls)
    yield from _said(role, content, item, {role_field, field, call_field})


def _said(role: str, content: Content, item: Record, used: Set[str | None]) -> Iterator[Spoken]:
    """Gives the results of calls as messages of their own, then what is said.

    used: the fields of the item that are in `content`.
    """
    for text, name in content.results:
        yield _with({"role": "tool", "content": text}, name=name), NO_MORE
    text = "\n".join(content.texts)
    if content.results and not text and not content.calls:
        return
    thoughts, used = list(content.thoughts), {*used}
    if role == "assistant":
        used |= {name for name in REASONING_FIELDS if isinstance(item.get(name), str)}
        thoughts += [item[name] for name in REASONING_FIELDS if name in used]
        info = item.get("info")
        if isinstance(info, dict) and isinstance(info.get("think_content"), str):
            thoughts.append(info["think_content"])
            used |= {"info"} if filled_names(info) <= THOUGHT_INFO else set()
        if THINK in text:
            thought, text = apart(text)
            thoughts.append(thought)
    calls = calls_in(content.calls)
    if content.calls and calls is None:  # what is no JSON is what the assistant says
        text = "\n".join(filter(None, [text, *map(str, content.calls)]))
    name = item.get("name") if isinstance(item.get("name"), str) else None
    message = _with({"role": role, "content": text}, reasoning=together(thoughts), tool_calls=calls, name=name)
    yield message, _more(item, {*used, "name"} if name else used, content)


def _with(message: Message, **more: str | None) -> Message:
    for name, value in more.items():
        if value:
            message[name] = value  # pyright: ignore[reportGeneralTypeIssues]
    return message


def _more(item: Record, used: Set[str | None], content: Content) -> Mapping[str, Any]:
    """Returns the fields of an item that its message does not say, and the parts where the text does not say all."""
    more = {name: value for name, value in item.items() if name not in used and filled(item, name)}
    if content.parts is not None:
        more["content"] = content.parts
    return more or NO_MORE
