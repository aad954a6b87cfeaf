"""The reverse of reading: a record with a new turn, in the format of the record that it comes from.

`messages_of` reads from such a record the opening of the old one (tools, system), a message of the user and one of the
assistant. Fields that hold no part of the conversation stay as they are.
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
    """Returns a record's JSON text with this turn in place of its conversation. The opening and other fields stay.

    The context follows the instruction on a new line if the record has no field for it. columns: those with which the
    record was ingested. The turns in `history` are dropped: the field becomes an empty list.
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
    """Returns the opening items, then a user's and an assistant's message with the field names of the first of each."""
    roles = [ROLES[str(item.get("role", item.get("from"))).strip().lower()] for item in items]
    first = next((place for place, role in enumerate(roles) if role not in OPENING), len(items))
    turn = [
        _item(items[roles.index(role)] if role in roles else items[0], role, content)
        for role, content in (("user", instruction), ("assistant", response))
    ]
    return [*items[:first], *turn]


def _item(like: Record, role: str, content: str) -> Record:
    """Returns a message with the field names of another one and, if that has the same role, its word for the role."""
    role_field = "role" if "role" in like else "from"
    content_field = next((field for field in ("content", "value") if field in like), "content")
    word = str(like[role_field])
    return {role_field: word if ROLES[word.strip().lower()] == role else role, content_field: content}


def _spelled(record: Record) -> bytes:
    """Returns the record as JSON; in ASCII if a string in it is not valid Unicode and needs an escape."""
    try:
        return json.dumps(record, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.dumps(record).encode()
