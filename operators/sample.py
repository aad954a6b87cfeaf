"""The sample: one instruction-response row of a pool, and its parts.

A sample's conversation is a list of messages. The roles are `user` and `assistant`, `system`, `tools` (the tools that
may be called, at the start) and `tool` (the result of a call). A turn is a user message with the assistant message that
answers it.
"""

import hashlib
import json
import string
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, NotRequired, TypedDict

import pyarrow as pa


class Message(TypedDict):
    """One message of a conversation."""

    role: str
    content: str
    """The text. An image, an audio or a video in it is a placeholder such as <image>."""
    reasoning: NotRequired[str | None]
    """What the assistant thinks before it answers; absent or null for nothing."""
    tool_calls: NotRequired[str | None]
    """The tools that the assistant calls: a JSON list of {"name", "arguments"}, with an "id" where calls have one."""
    name: NotRequired[str | None]
    """Who speaks: the tool whose result this is, or a speaker among several."""


MORE = ("reasoning", "tool_calls", "name")
"""The fields of a message besides its role and its text."""

MESSAGES = pa.list_(pa.struct([(name, pa.string()) for name in ("role", "content", *MORE)]))

# `sha` is the hash of the whole record, `text_sha` that of its messages. `raw` is the original record (for .jsonl the
# bytes of the line), so that a selection can reproduce it. `rejected` is the rejected answer of a preference record:
# the messages after those that it shares with the chosen one. `label` is whether the answer is desired (KTO). Both are
# null where the record has none, and they are a part of `sha` and not of `text_sha`.
SAMPLE = pa.schema(
    [
        ("id", pa.int64()),
        ("sha", pa.binary(16)),
        ("text_sha", pa.binary(16)),
        ("source", pa.string()),
        ("line", pa.int64()),
        ("messages", MESSAGES),
        ("raw", pa.large_binary()),
        ("rejected", MESSAGES),
        ("label", pa.bool_()),
    ]
)

CANONICAL = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))

NO_RECORD: Mapping[str, Any] = MappingProxyType({})

INPUT_FIELDS = ("input", "context")
"""The fields of Alpaca and Dolly records with the input of the instruction; ingest appends it to the instruction."""

TEXT_FIELDS = ("instruction", "request", "response", "reasoning", "conversation", "system")


def text_sha(messages: Sequence[Message], record: Mapping[str, Any] = NO_RECORD) -> bytes:
    """The first 16 bytes of SHA-256 of the canonical JSON of the messages.

    An input in a field of its own enters too, because judges and rewriters see it apart from the instruction.
    """
    entries: list[Any] = [_entry(message) for message in messages]
    if record.get("input") or record.get("context"):
        entries += filter(None, [input_of(_last_asked(messages), record)])
    return hashlib.sha256(CANONICAL.encode(entries).encode("utf-8")).digest()[:16]


def _entry(message: Message) -> list[Any]:
    if len(message) == 2:
        return [message["role"], message["content"]]
    more = {name: value for name in MORE if (value := message.get(name))}
    return [message["role"], message["content"], more] if more else [message["role"], message["content"]]


def _last_asked(messages: Sequence[Message]) -> str:
    return next((message["content"] for message in reversed(messages) if message["role"] == "user"), "")


def input_of(asked: str, record: Mapping[str, Any]) -> str:
    """The input field of the record with which a user message ends, on a line of its own; empty for none."""
    for field in INPUT_FIELDS:
        more = record.get(field)
        if isinstance(more, str) and more and asked.endswith(f"\n{more}"):
            return more
    return ""


def record_in(raw: bytes) -> dict[str, Any]:
    """The record of a sample, from its JSON text; a record that is a bare list has it as the field `messages`."""
    record = json.loads(raw)
    return {"messages": record} if isinstance(record, list) else record


def spelled(value: Any) -> str:
    """A value of a record as text: a string unchanged, other values as JSON; half a surrogate pair becomes U+FFFD."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def said(message: Message) -> str:
    """What a message says: its text, then the tools that it calls, as JSON on a line of its own."""
    calls = message.get("tool_calls")
    if not calls:
        return message["content"]
    return f"{message['content']}\n{calls}" if message["content"] else calls


def turns(messages: Sequence[Message]) -> list[tuple[str, str]]:
    """The (instruction, response) pairs in order; a user message without an answer has an empty response."""
    pairs: list[tuple[str, str]] = []
    for message in messages:
        if message["role"] == "user":
            pairs.append((said(message), ""))
        elif message["role"] == "assistant":
            asked, answered = pairs.pop() if pairs and not pairs[-1][1] else ("", "")
            pairs.append((asked, answered + said(message)))
    return pairs


def joined(messages: Sequence[Message], *roles: str) -> str:
    """What the messages with these roles say, joined by newlines."""
    return "\n".join(said(message) for message in messages if message["role"] in roles)


def instruction(messages: Sequence[Message]) -> str:
    """The text of all user messages."""
    return joined(messages, "user")


def response(messages: Sequence[Message]) -> str:
    """The text of all assistant messages."""
    return joined(messages, "assistant")


def reasoning(messages: Sequence[Message]) -> str:
    """What the assistant thinks before its answers, joined by newlines; empty for nothing."""
    return "\n".join(filter(None, (message.get("reasoning") for message in messages)))


class Triplet(NamedTuple):
    """A sample in the form that judges, rewriters and reward models see."""

    instruction: str
    input: str
    """The input of the instruction, where the record has it in a field of its own; else empty."""
    response: str


def triplet(messages: Sequence[Message], raw: bytes) -> Triplet:
    """Instruction, input and response of a sample, from its messages and its record.

    For several turns the response is the last assistant message, and the instruction is the conversation before it,
    with the name of the role before each message.
    """
    before, answer = list(messages), ""
    if messages and messages[-1]["role"] == "assistant":
        before, answer = before[:-1], said(messages[-1])
    if [message["role"] for message in before] != ["user"]:
        asked = "\n\n".join(f"{message['role']}: {said(message)}" for message in before)
        return Triplet(asked, "", answer)
    asked = before[0]["content"]
    more = input_of(asked, record_in(raw) if raw else {})
    return Triplet(asked.removesuffix(f"\n{more}") if more else asked, more, answer)


def text(template: str, messages: Sequence[Message], raw: bytes = b"") -> str:
    """The template with {instruction}, {request}, {response}, {reasoning}, {conversation} and {system} filled.

    {request} is the instruction without its input; raw, the record, is needed for it only.
    """
    return template.format(
        instruction=instruction(messages),
        request=triplet(messages, raw).instruction if needs_record(template) else "",
        response=response(messages),
        reasoning=reasoning(messages),
        conversation=joined(messages, "system", "user", "assistant", "tool"),
        system=joined(messages, "system"),
    )


def needs_record(template: str) -> bool:
    """Whether the template needs the record besides the messages."""
    return any(name == "request" for _, name, _, _ in string.Formatter().parse(template))


def checked_template(template: str) -> str:
    """The template, unchanged; ValueError where it has an unknown field, or no field."""
    named = [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]
    unknown = sorted(set(named) - set(TEXT_FIELDS))
    if unknown or not named:
        found = f"unknown field {{{unknown[0]}}}" if unknown else "no field"
        raise ValueError(f"text template {template!r} has {found}; the fields are {', '.join(TEXT_FIELDS)}")
    return template
