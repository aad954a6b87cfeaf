"""The sample: one instruction-response row of a pool, and the words used to speak of it.

A sample's conversation is a list of messages, each a role and a content. The roles are `user` and `assistant`,
`system`, `tools` (what may be called, at the start) and `tool` (a call or what it gave back). A turn is a user
message with the assistant message that answers it.
"""

import hashlib
import json
import string
from collections.abc import Sequence
from typing import TypedDict

import pyarrow as pa


class Message(TypedDict):
    """One message of a conversation."""

    role: str
    content: str


MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))

# `raw` is the record as it came in (the line's bytes for .jsonl), so that a selection can give it back.
SAMPLE = pa.schema(
    [
        ("id", pa.int64()),
        ("sha", pa.binary(16)),
        ("source", pa.string()),
        ("line", pa.int64()),
        ("messages", MESSAGES),
        ("raw", pa.large_binary()),
    ]
)

CANONICAL = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))

TEXT_FIELDS = ("instruction", "response", "conversation", "system")


def sha(messages: Sequence[Message]) -> bytes:
    """The content hash of a conversation: the first 16 bytes of SHA-256 of its canonical JSON."""
    pairs = [[message["role"], message["content"]] for message in messages]
    return hashlib.sha256(CANONICAL.encode(pairs).encode("utf-8")).digest()[:16]


def turns(messages: Sequence[Message]) -> list[tuple[str, str]]:
    """The (instruction, response) pairs in order; a user message without an answer has an empty response."""
    pairs: list[tuple[str, str]] = []
    for message in messages:
        if message["role"] == "user":
            pairs.append((message["content"], ""))
        elif message["role"] == "assistant":
            asked, answered = pairs.pop() if pairs and not pairs[-1][1] else ("", "")
            pairs.append((asked, answered + message["content"]))
    return pairs


def joined(messages: Sequence[Message], *roles: str) -> str:
    """The contents of the messages with these roles, one after another, a newline between."""
    return "\n".join(message["content"] for message in messages if message["role"] in roles)


def instruction(messages: Sequence[Message]) -> str:
    """What the user says, all turns."""
    return joined(messages, "user")


def response(messages: Sequence[Message]) -> str:
    """What the assistant says, all turns."""
    return joined(messages, "assistant")


def text(template: str, messages: Sequence[Message]) -> str:
    """The template with {instruction}, {response}, {conversation} and {system} filled from the messages."""
    return template.format(
        instruction=instruction(messages),
        response=response(messages),
        conversation=joined(messages, "system", "user", "assistant", "tool"),
        system=joined(messages, "system"),
    )


def checked_template(template: str) -> str:
    """The template itself; ValueError where it names a field that a sample does not have, or none at all."""
    named = [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]
    unknown = sorted(set(named) - set(TEXT_FIELDS))
    if unknown or not named:
        found = f"unknown field {{{unknown[0]}}}" if unknown else "no field"
        raise ValueError(f"text template {template!r} has {found}; the fields are {', '.join(TEXT_FIELDS)}")
    return template
