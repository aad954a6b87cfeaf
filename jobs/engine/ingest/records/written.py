"""The reverse of reading: a record with a new turn, in the format of the record that it comes from.

`messages_of` reads from such a record the opening of the old one (tools, system), a message of the user and one of the
assistant. Fields that hold no part of the conversation stay as they are.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from jobs.engine.ingest.records.formats import NO_COLUMNS, read
from jobs.engine.ingest.records.messages import ROLE_FIELDS, ROLES, TEXT_FIELDS, is_message
from jobs.engine.ingest.records.preferences import respelled
from jobs.engine.ingest.records.records import record_of
from jobs.engine.ingest.records.turns import is_thought, only
from jobs.engine.ingest.records.values import Record

OPENING = ("tools", "system")


def written(
    raw: bytes, instruction: str, context: str, response: str, columns: Mapping[str, str] = NO_COLUMNS
) -> bytes:
    """Returns a record's JSON text with this turn in place of its conversation. The opening and other fields stay.

    The context follows the instruction on a new line if the record has no field for it. columns: those with which the
    record was ingested. The turns in `history` are dropped: the field becomes an empty list. So are the
    thoughts before the old response.
    """
    record = record_of(raw, sys.maxsize)
    record = record if columns else dict(respelled(record))
    found = read(record, columns)
    made = found.format
    together = f"{instruction}\n{context}" if context else instruction
    if made.chat in record:
        items = record[made.chat]
        if not _is_chat(items):
            items = [{"role": each["role"], "content": each["content"]} for each in found.messages[found.opening :]]
        record[made.chat] = _chat(items, together, response)
        if made.turn:  # which the conversation repeats
            record |= {made.turn[0]: together, made.turn[2]: response}
        if raw.lstrip()[:1] == b"[":  # a bare conversation stays one
            return _spelled(record["messages"])
    elif made.turn and all(isinstance(record.get(field), str | None) for field in made.turn):
        asked, more, answered = made.turn
        if more in record:
            kept = "" if record[more] is not None else None
            record |= {asked: instruction, more: context or kept, answered: response}
        else:
            record |= {asked: together, answered: response, **dict.fromkeys(made.apart, "")}
    elif made.turn and all(_is_chat(record.get(field)) for field in made.turn if field):
        asked, _, answered = made.turn
        *before, answer = _chat([*record[asked], *record[answered]], together, response)
        record |= {asked: before, answered: [answer]}
    else:
        others = {name: value for name, value in record.items() if name not in made.holds | made.apart}
        opening = {name: record[name] for name in (*made.tools, *made.system) if name in record}
        turn = [{"role": "user", "content": together}, {"role": "assistant", "content": response}]
        record = {**opening, **others, "messages": turn}
    if record.get("history"):
        record["history"] = []
    old = {name for name in made.also - {"history", *(made.turn or ())} if is_thought(only(record.get(name)))}
    return _spelled({name: value for name, value in record.items() if name not in old})


def _is_chat(value: Any) -> bool:
    return isinstance(value, list) and all(map(is_message, value))


def _chat(items: Sequence[Record], instruction: str, response: str) -> list[Record]:
    """Returns the opening items, then a user's and an assistant's message with the field names of the first of each."""
    roles = [_role(item) for item in items]
    first = next((place for place, role in enumerate(roles) if role not in OPENING), len(items))
    turn = [
        _item(items[roles.index(role)] if role in roles else items[0], role, content)
        for role, content in (("user", instruction), ("assistant", response))
    ]
    return [*items[:first], *turn]


def _item(like: Record, role: str, content: str) -> Record:
    """Returns a message with the field names of another one and, if that has the same role, its word for the role."""
    role_field = next(name for name in ROLE_FIELDS if like.get(name) is not None)
    content_field = next((name for name in TEXT_FIELDS if like.get(name) is not None), "content")
    said = [{"text": content}] if content_field == "parts" else content
    return {role_field: like[role_field] if _role(like) == role else role, content_field: said}


def _role(item: Record) -> str:
    word = next(item[name] for name in ROLE_FIELDS if item.get(name) is not None)
    return ROLES.get(str(word).strip().lower(), "call")


def _spelled(record: Any) -> bytes:
    """Returns the record as JSON; in ASCII if a string in it is not valid Unicode and needs an escape."""
    try:
        return json.dumps(record, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.dumps(record).encode()
