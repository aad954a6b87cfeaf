"""Messages from the ways in which records write a conversation. The values decide, and not which keys there are.

[{"role": "user", "content": "…"}, …]          objects with a role and a content, under any of their names
[{"human": "…", "assistant": "…"}, …]          pairs
["…", "…"]                                     texts in turns, the user's first
{"role": ["user", …], "content": ["…", …]}     columns
'[{"role": …}]'                                any of these as JSON text
"""

from collections.abc import Iterator, Mapping, Set
from types import MappingProxyType
from typing import Any, TypeGuard

from jobs.engine.ingest.faults import RecordFault
from jobs.engine.ingest.records.calls import calls_in
from jobs.engine.ingest.records.contents import Content, apart, content_of, is_data, thinks, together
from jobs.engine.ingest.records.values import (
    Record,
    as_json,
    decoded,
    field_names,
    filled,
    filled_names,
    literal,
    shown,
    wrong_type,
)
from operators.sample import Message

ROLES = {
    **dict.fromkeys(("user", "human", "prompter", "question", "用户"), "user"),
    **dict.fromkeys(
        ("assistant", "gpt", "chatgpt", "bard", "bing", "claude", "model", "bot", "ai", "answer", "助手"), "assistant"
    ),
    **dict.fromkeys(("system", "developer", "系统"), "system"),
    **dict.fromkeys(("tool", "function", "observation", "observations", "ipython", "environment"), "tool"),
    **dict.fromkeys(("tool_response", "function_response", "tool_result", "tool_output", "function_output"), "tool"),
    "tools": "tools",
    **dict.fromkeys(("reasoning", "thinking", "thought"), "reasoning"),
}
"""The role of a message by the word for it. A message of the role `reasoning` is part of the answer after it."""
SIDES = (
    ("system", ("system",)),
    ("user", ("instruction", "prompt", "query", "input")),
    ("assistant", ("output", "response", "completion")),
)
"""The speakers of an item such as {"input": …, "output": …}, in order, with their fields."""
CALL_ROLES = {"function_call", "function_calls", "functions", "tool_call", "tool_calls"}
CALL_FIELDS = ("tool_calls", "function_call", "tool_call", "function_calls", "functions")
ROLE_FIELDS = ("role", "from", "speaker", "sender", "author")
TEXT_FIELDS = ("content", "value", "text", "parts")
REASONING_FIELDS = ("reasoning_content", "reasoning", "thinking")
THOUGHT_INFO = {"think_content", "answer_content"}

NO_MORE: Mapping[str, Any] = MappingProxyType({})

Spoken = tuple[Message, Mapping[str, Any]]
"""A message, and what the record has of it besides."""


def conversation(value: Any, where: str) -> Iterator[Spoken]:
    """Gives the messages of a conversation. RecordFault, which names the place, for what is no message."""
    thoughts: list[Spoken] = []
    for position, item in enumerate(_listed(value, where)):
        if item is None:  # Arrow and other tables fill up lists with nulls
            continue
        for each in messages_in(item, f"{where}[{position}]"):
            if each[0]["role"] == "reasoning":
                thoughts.append(each)
                continue
            if thoughts and each[0]["role"] == "assistant":
                each, thoughts = _thought(thoughts, each), []
            yield each
    if thoughts:
        yield _thought(thoughts, ({"role": "assistant", "content": ""}, NO_MORE))


def conversation_in(record: Record, field: str) -> Iterator[Spoken]:
    """Gives the messages of the conversation in a field, as `conversation` does."""
    return conversation(record[field], field)


def _thought(thoughts: list[Spoken], answer: Spoken) -> Spoken:
    """Returns an answer with what messages of their own before it say of its reasoning."""
    message, more = answer
    said = [text for each, _ in thoughts for text in (each["content"], each.get("reasoning") or "")]
    merged = {name: value for _, rest in thoughts for name, value in rest.items()}
    return _with(message, reasoning=together([*said, message.get("reasoning") or ""])), {**merged, **more} or NO_MORE


def _listed(value: Any, where: str) -> list[Any]:
    value = literal(decoded(decoded(value, "["), "{"))
    if isinstance(value, dict):
        value = [value] if any(isinstance(value.get(name), str) for name in ROLE_FIELDS) else _rows(value)
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        raise RecordFault("wrong_type", f"{where} is a text that is neither JSON nor Python; write it with json.dumps")
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
    sides = [(role, name) for role, names in SIDES for name in names if filled(item, name)]
    if {role for role, _ in sides} >= {"user", "assistant"}:
        yield from _sides(item, sides, where)
        return
    speakers = {name: text for name, text in item.items() if text is not None and name.lower() in ROLES}
    more = {name: value for name, value in item.items() if name not in speakers and filled(item, name)}
    roles = {ROLES[name.lower()] for name in speakers}
    if not speakers or (more and not roles >= {"user", "assistant"}):
        raise RecordFault("missing_field", f"{where} has neither 'role' nor 'from'; found: {field_names(item)}")
    in_order = sorted(speakers, key=lambda name: ORDER.index(ROLES[name.lower()]))
    *before, (last, rest) = (
        each for name in in_order for each in spoken(ROLES[name.lower()], speakers[name], f"{where}.{name}")
    )
    yield from before
    yield last, {**rest, **more} or NO_MORE


def _sides(item: Record, sides: list[tuple[str, str]], where: str) -> Iterator[Spoken]:
    """Gives the messages of an item that holds a question and its answer, in fields of their own for each role."""
    said: dict[str, Any] = {}
    for role, name in sides:
        both = isinstance(item[name], str) and isinstance(said.get(role), str)
        said[role] = f"{said[role]}\n{item[name]}" if both else said.get(role, item[name])
    *before, (last, more) = (each for role in said for each in spoken(role, said[role], f"{where} ({role})"))
    yield from before
    used = {name for _, name in sides}
    yield last, {**more, **{name: item[name] for name in item if name not in used and filled(item, name)}}


ORDER = ("tools", "system", "user", "tool", "reasoning", "assistant")
"""The order of the speakers of one item that holds a text of each."""


def spoken(role: str, value: Any, where: str) -> Iterator[Spoken]:
    """Gives the messages of a text, or of parts, that someone in this role says."""
    if is_plain(value, role):
        yield {"role": role, "content": value}, NO_MORE
    else:
        yield from _said(role, content_of(value, where), NO_MORE, frozenset())


def is_plain(value: Any, role: str) -> TypeGuard[str]:
    """Whether a content is a text without parts and thoughts, as nearly all are. It is what the message says."""
    return (
        isinstance(value, str)
        and value[:1] != "["
        and (role != "assistant" or ("think>" not in value and "_of_thought|>" not in value))
    )


def _message(item: Record, word: Any, role_field: str, where: str) -> Iterator[Spoken]:
    called = isinstance(word, str) and word.strip().lower() in CALL_ROLES
    role = "assistant" if called else ROLES.get(word.strip().lower()) if isinstance(word, str) else None
    if role is None:
        known = ", ".join([*ROLES, *sorted(CALL_ROLES)])
        raise RecordFault("wrong_type", f"{where}.{role_field} is {shown(word)}; rename it to one of {known}")
    field = next((name for name in TEXT_FIELDS if item.get(name) is not None), None)
    value = item[field] if field else None
    if role == "tool" and is_data(value):
        value = as_json(value)
    if role == "assistant" and item.get("channel") == "analysis":
        role = "reasoning"
    if len(item) == 2 and not called and is_plain(value, role):
        yield {"role": role, "content": value}, NO_MORE
        return
    call_field = next((name for name in CALL_FIELDS if filled(item, name)), None)
    calls = item[call_field] if call_field else None
    if called and calls is None and value is not None:
        calls, value = value, None
    if value is None and calls is None and not any(filled(item, name) for name in REASONING_FIELDS):
        if any(name in item for name in TEXT_FIELDS):  # null, which is as good as empty
            if role != "system":
                yield {"role": role, "content": ""}, _more(item, {role_field}, Content())
            return
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
        if thinks(text):
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
