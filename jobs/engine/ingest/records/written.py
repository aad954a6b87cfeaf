"""The way back: a record with a new turn, in the format of the record that it comes from.

What `messages_of` reads of such a record is the opening of the old one (tools, system), a user's message and the
assistant's. Fields that hold no part of the conversation stay as they are.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from jobs.engine.ingest.records.formats import NO_COLUMNS, messages_of
from jobs.engine.ingest.records.records import DECODER
from jobs.engine.ingest.records.turns import ROLES
from jobs.engine.ingest.records.values import Record

CHATS = {"openai": "messages", "sharegpt": "conversations"}
"""The field that holds all messages, by format."""

TURNS = {
    "alpaca": ("instruction", "input", "output"),
    "dolly": ("instruction", "context", "response"),
    "query-response": ("query", "", "response"),
}
"""The fields of instruction, context and response, by format."""

OPENING = ("tools", "system")


def written(
    raw: bytes, instruction: str, context: str, response: str, columns: Mapping[str, str] = NO_COLUMNS
) -> bytes:
    """A record's JSON text with this single turn in place of its conversation; the opening and other fields stay.

    The context follows the instruction on a new line where the record has no field of its own for it. `columns` is
    what the record was ingested with. Earlier turns in `history` are gone: the field is an empty list.
    """
    record: dict[str, Any] = DECODER.decode(raw.decode())
    name, _ = messages_of(record, columns)
    together = f"{instruction}\n{context}" if context else instruction
    if name in CHATS:
        record[CHATS[name]] = _chat(record[CHATS[name]], together, response)
    elif name == "prompt-completion":
        field = "completion" if record.get("completion") is not None else "response"
        if isinstance(record["prompt"], list):
            *asked, answer = _chat([*record["prompt"], *record[field]], together, response)
            record |= {"prompt": asked, field: [answer]}
        else:
            record |= {"prompt": together, field: response}
    else:
        asked, more, answered = _fields(columns) if name == "columns" else TURNS[name]
        if more in record:
            kept = "" if record[more] is not None else None
            record |= {asked: instruction, more: context or kept, answered: response}
        else:
            record |= {asked: together, answered: response}
    if record.get("history"):
        record["history"] = []
    return _spelled(record)


def _fields(columns: Mapping[str, str]) -> tuple[str, str, str]:
    return columns["instruction"], columns.get("input", ""), columns["response"]


def _chat(items: Sequence[Record], instruction: str, response: str) -> list[Record]:
    """The items that open a conversation, then a user's and an assistant's in the spelling of the first of each."""
    roles = [ROLES[str(item.get("role", item.get("from"))).strip().lower()] for item in items]
    first = next((place for place, role in enumerate(roles) if role not in OPENING), len(items))
    turn = [
        _item(items[roles.index(role)] if role in roles else items[0], role, content)
        for role, content in (("user", instruction), ("assistant", response))
    ]
    return [*items[:first], *turn]


def _item(like: Record, role: str, content: str) -> Record:
    """A message with the field names of another and, where that has this role too, its word for it."""
    role_field = "role" if "role" in like else "from"
    content_field = next((field for field in ("content", "value") if field in like), "content")
    word = str(like[role_field])
    return {role_field: word if ROLES[word.strip().lower()] == role else role, content_field: content}


def _spelled(record: Record) -> bytes:
    """The record as JSON; in ASCII where a string of it is not Unicode and only an escape can hold it."""
    try:
        return json.dumps(record, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.dumps(record).encode()
